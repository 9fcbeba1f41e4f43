"""Training: the loss falls, the history is right, and a loss that is not finite is explained."""

import csv
import itertools
import math
import re
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmladder import kernels
from lmladder.autograd import CapturedLoss, capture
from lmladder.data.batches import validation_sequences
from lmladder.kernels import blocks
from lmladder.models import restore_models
from lmladder.system.arrays import IntArray
from lmladder.system.errors import RunError
from lmladder.system.files import work_folder
from lmladder.training.checkpoint import BEST, LATEST, Checkpoint, weights_digest
from lmladder.training.history import (
    COLUMNS,
    DIGEST,
    evaluations_without_improvement,
)
from lmladder.training.loop import HISTORY, UNFINISHED, train
from tests.training.examples import (
    FEATURES,
    SGD,
    STEPS,
    TRAINING,
    VAL,
    VOCABULARY,
    every_rung,
    finish,
    make_run,
    tokens,
)

import numpy as np
import pytest

GROUPS = ("embedding", "norm", "attention", "feed_forward")  # of the Transformer's parameters


def table(folder: Path) -> list[dict[str, str]]:
    """Return the rows of history.csv."""
    return list(csv.DictReader((folder / HISTORY).read_text().splitlines()))


@contextmanager
def before_each_loss(look: Callable[[IntArray, np.random.Generator], None]) -> Iterator[None]:
    """Call `look` with the sequences and the generator of each training loss."""
    original = CapturedLoss.__call__

    def loss(self: CapturedLoss, sequences: IntArray, rng: np.random.Generator) -> float:
        look(sequences, rng)
        return original(self, sequences, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CapturedLoss, "__call__", loss)
        yield


# --- Learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True])
def test_one_line_names_why_steps_are_not_replayed(
    slow: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path)
    if slow:
        layer: Any = run.model.unembedding
        table = np.ones(VOCABULARY, np.float32)
        run.model.unembedding = lambda hidden: layer(hidden) + table
        run.model.layer = layer
    train(run)
    found = re.findall(
        r"^.*cannot be replayed and take longer: (.*)$", capsys.readouterr().err, re.M
    )
    assert found == ["add reads ndarray (7,), which was made elsewhere"] * slow


@every_rung
def test_the_loss_falls_and_the_checkpoint_holds_the_trained_model(
    kind: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path, kind, steps=60, evaluate_every=20)
    state = train(run)
    first, last = state.history[0], state.history[-1]
    assert first["val_loss"] == pytest.approx(math.log(VOCABULARY), abs=0.1)
    assert last["val_loss"] < 1.2
    assert last["train_loss"] < state.history[1]["train_loss"]
    loaded = Checkpoint.load(tmp_path / LATEST)
    assert (loaded.step, loaded.history) == (60, state.history)
    sequences = validation_sequences(VAL, TRAINING.sequence_length, TRAINING.evaluate_tokens)
    nll = restore_models(loaded)[kind].nll(sequences)
    np.testing.assert_array_equal(nll, run.model.nll(sequences))
    assert last["val_loss"] == nll.mean()


def test_each_step_has_its_own_batch_and_dropout_and_micro_batches_divide_it(
    tmp_path: Path,
) -> None:
    seen: dict[int, list[IntArray]] = {1: [], 4: []}
    masks = []
    for n, batches in seen.items():

        def look(
            sequences: IntArray, rng: np.random.Generator, batches: list[IntArray] = batches
        ) -> None:
            batches.append(sequences)
            masks.append(rng.bit_generator.state["state"]["state"])

        with before_each_loss(look):
            train(make_run(tmp_path / str(n), gradient_accumulation_steps=n))
    assert len({batch.tobytes() for batch in seen[1]}) == len(set(masks[:STEPS])) == STEPS
    assert {len(batch) for batch in seen[4]} == {1}
    np.testing.assert_array_equal(np.concatenate(seen[4]), np.concatenate(seen[1]))


@every_rung
def test_micro_batches_learn_what_the_whole_batch_does(kind: str, tmp_path: Path) -> None:
    found = []
    for n in (1, 4):
        run = make_run(tmp_path / str(n), kind, gradient_accumulation_steps=n, optimizer=SGD)
        run.model.astype(np.float64)
        for module in (run.model, *getattr(run.model, "blocks", [])):
            vars(module)["dropout"] = 0.0  # its masks are drawn for each micro-batch
        found.append(train(run))
    whole, parts = found
    for name, array in whole.model.items():
        np.testing.assert_allclose(parts.model[name], array, rtol=1e-10, atol=1e-14, err_msg=name)
    for ours, theirs in zip(whole.history[1:], parts.history[1:], strict=True):
        assert ours.pop(DIGEST) != theirs.pop(DIGEST)  # the weights differ by rounding
        assert ours == pytest.approx(theirs, rel=1e-10)


@every_rung
def test_accumulation_takes_the_memory_of_one_micro_batch(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "PARTS", 1)
    train(make_run(tmp_path / "first", kind))  # loads compiled kernels

    def peak(batch_size: int, count: int) -> int:
        """Return the bytes that Python and NumPy allocate; the weights are few."""
        settings = {"batch_size": batch_size, "gradient_accumulation_steps": count, "steps": 3}
        run = make_run(tmp_path / f"{batch_size} in {count}", kind, **settings)
        tracemalloc.start()
        train(run)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, parts, whole = peak(64, 1), peak(512, 8), peak(512, 1)
    assert parts < 1.3 * small
    assert whole > 2 * small


@pytest.mark.parametrize("feature", ["default", "accumulation"])
@every_rung
def test_the_number_of_threads_does_not_change_the_bytes(
    kind: str, feature: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks so small that even these models are divided into many.
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 8)
    monkeypatch.setattr(blocks, "PRODUCT_ROWS", 3)
    monkeypatch.setattr(blocks, "PRODUCT_WORK", 1 << 6)
    found = []
    for n_threads in (1, 3):
        kernels.set_threads(n_threads)
        found.append(finish(tmp_path / str(n_threads), kind, **FEATURES[feature]))
    assert found[0] == found[1]


# --- History --------------------------------------------------------------------------------------


@every_rung
def test_history_has_a_row_before_the_first_step_and_one_per_evaluation(
    kind: str, tmp_path: Path
) -> None:
    digests: list[str] = []
    run = make_run(tmp_path, kind, steps=5, evaluate_every=2)
    initial = {name: each.value.copy() for name, each in run.model.parameters().items()}
    train(run, lambda state: digests.append(weights_digest(state.model or initial)))
    rows = table(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == ["0", "2", "4", "5"]
    assert [row["tokens"] for row in rows] == ["0", "48", "96", "120"]
    assert [row[DIGEST] for row in rows] == digests
    known_at_first = ["step", "tokens", "val_loss", DIGEST]
    assert [name for name, cell in rows[0].items() if cell] == known_at_first
    assert float(rows[1]["learning_rate_factor"]) == 1


def test_a_row_summarizes_the_steps_since_the_last_one(tmp_path: Path) -> None:
    each = train(make_run(tmp_path / "1", "transformer", evaluate_every=1, monitor_every=1))
    some = train(make_run(tmp_path / "2", "transformer", evaluate_every=3, monitor_every=2))
    first, second = some.history[1:]
    series = {name: [row[name] for row in each.history[1:]] for name in each.history[1]}
    assert first["train_loss"] == pytest.approx(sum(series["train_loss"][:3]) / 3)
    assert first["gradient_norm"] == max(series["gradient_norm"][:3])
    embedding = series["gradient_norm.embedding.max"]  # monitored in steps 2, 4 and 6
    assert first["gradient_norm.embedding.max"] == embedding[1]
    assert second["gradient_norm.embedding.max"] == max(embedding[3], embedding[5])
    assert second["gradient_norm.embedding.mean"] == pytest.approx(
        (embedding[3] + embedding[5]) / 2
    )
    for row in each.history[1:]:
        norms = [row[f"gradient_norm.{group}.max"] for group in GROUPS]
        assert math.hypot(*norms) == pytest.approx(row["gradient_norm"], rel=1e-6)


@pytest.mark.parametrize("count", [1, 2])
@every_rung
def test_evaluation_and_monitoring_do_not_change_the_weights(
    kind: str, count: int, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"gradient_accumulation_steps": count}
    each = train(make_run(tmp_path / "each", kind, evaluate_every=1, **how))
    digests = {row["step"]: row[DIGEST] for row in each.history}
    for evaluate_every in (4, 100):
        how |= {"evaluate_every": evaluate_every, "evaluate_tokens": 30, "monitor_every": 4}
        other = train(make_run(tmp_path / str(evaluate_every), kind, **how))
        assert other.step == STEPS
        assert all(row[DIGEST] == digests[row["step"]] for row in other.history)
        for name, array in each.optimizer.items():
            np.testing.assert_array_equal(array, other.optimizer[name])


# --- Patience -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "min_improvement", "expected"),
    [
        ([3.0, 3.0], 0.0, 1),  # an equal loss is no improvement
        ([3.0, 2.0, 2.5, 2.1], 0.0, 2),
        ([3.0, 2.875, 2.75], 0.25, 0),  # small improvements add up
    ],
)
def test_evaluations_are_counted_since_the_last_sufficient_improvement(
    losses: list[float], min_improvement: float, expected: int
) -> None:
    assert evaluations_without_improvement(losses, min_improvement) == expected


def test_a_model_that_overfits_is_stopped_and_its_best_checkpoint_is_kept(tmp_path: Path) -> None:
    # The model memorizes a short training text, whose words are not those of the validation text.
    settings: dict[str, Any] = {
        "steps": 60,
        "evaluate_every": 5,
        "clip_norm": None,
        "train_tokens": tokens("had a cab had"),
    }
    patient = train(make_run(tmp_path / "patient", patience=3, **settings))
    whole = train(make_run(tmp_path / "whole", **settings))
    assert patient.step < whole.step
    losses = [row["val_loss"] for row in whole.history]
    assert [row["val_loss"] for row in patient.history] == losses[: len(patient.history)]
    assert Checkpoint.load(tmp_path / "patient" / BEST).step == patient.step - 3 * 5
    best = Checkpoint.load(tmp_path / "whole" / BEST)
    assert best.step == 5 * losses.index(min(losses))
    sequences = validation_sequences(VAL, TRAINING.sequence_length, TRAINING.evaluate_tokens)
    assert restore_models(best)["mlp"].nll(sequences).mean() == min(losses)


# --- What cannot be trained -----------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 2])
@every_rung
def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_last_good_checkpoint(
    kind: str, at: int, tmp_path: Path
) -> None:
    run = make_run(tmp_path, kind, evaluate_every=1)
    calls = itertools.count()

    def ruin(sequences: IntArray, rng: np.random.Generator) -> None:
        if next(calls) == at:
            next(iter(run.model.parameters().values())).value[...] = math.nan

    message = f"{kind}: loss nan .*at step {at + 1}; the first that is not finite is parameter "
    with before_each_loss(ruin), pytest.raises(RunError, match=message) as caught:
        train(run)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / LATEST).exists()
    assert (work_folder(tmp_path) / UNFINISHED).exists() == (at > 0)
    if at > 0:
        assert Checkpoint.load(work_folder(tmp_path) / UNFINISHED).step == at


@pytest.mark.parametrize(("std", "step"), [(1e30, 1), (1e38, 0)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_before_any_update_is_due_to_the_initial_weights(
    std: float, step: int, tmp_path: Path
) -> None:
    run = make_run(tmp_path, "transformer", init_std=std)
    with pytest.raises(RunError, match=f" at step {step}; .*initial weights are the cause"):
        train(run)
    assert not list(tmp_path.iterdir())
