"""Training: it learns, and neither interruptions nor threads nor evaluations change its bytes."""

import contextlib
import csv
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lmladder import kernels
from lmladder.autograd import CapturedLoss, Tensor, capture
from lmladder.config import (
    MlpConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
    TransformerConfig,
)
from lmladder.experiments.jobs import TRAINED
from lmladder.kernels import blocks
from lmladder.models import build_neural
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError, RunError
from lmladder.system.interrupts import exit_status
from lmladder.system.progress import TrainingProgress
from lmladder.system.streams import stream
from lmladder.training import (
    BEST,
    HISTORY,
    LATEST,
    UNFINISHED,
    UNFINISHED_BEST,
    TrainingRun,
    discard_unfinished,
    train,
    validation_rows,
)
from lmladder.training.checkpoint import Checkpoint, weights_digest
from lmladder.training.history import COLUMNS, DIGEST, WAITED, waited

import numpy as np
import pytest

CHARACTERS = " abcdeh"
VOCABULARY = len(CHARACTERS)
STEPS = 6
GROUPS = ("embedding", "norm", "attention", "feed_forward")  # of the Transformer's parameters


def tokens(text: str) -> IntArray:
    return np.array([CHARACTERS.index(character) for character in text], np.uint8)


TRAIN = tokens("a bad head had a bed " * 20)
VAL = tokens("a head had a bad bed " * 6)

ADAMW = OptimizerConfig("adamw", 0.02, (0.9, 0.95), 1e-8, 0.1, None, None, None)
MUON = OptimizerConfig("muon", 0.01, (0.9, 0.95), 1e-8, 0.1, 0.02, 0.9, None)
SGD = OptimizerConfig("sgd", 0.1, None, None, 0.1, None, 0.9, True)
SCHEDULE = ScheduleConfig("cosine", warmup_steps=2, final_fraction=0.1, decay_fraction=None)
TRAINING = TrainingConfig(
    steps=STEPS,
    batch_size=4,
    accumulate=1,
    sequence_length=6,
    clip_norm=1.0,
    evaluate_every=2,
    evaluate_tokens=60,
    monitor_every=None,
    patience=None,
    min_improvement=0.0,
)
RUNGS: dict[str, MlpConfig | TransformerConfig] = {
    "mlp": MlpConfig(
        optimizer=ADAMW,
        schedule=SCHEDULE,
        training=TRAINING,
        context_length=3,
        embedding_size=4,
        hidden_sizes=[16],
        activation="tanh",
    ),
    "transformer": TransformerConfig(
        optimizer=MUON,
        schedule=SCHEDULE,
        training=TRAINING,
        n_layer=1,
        n_head=2,
        d_model=8,
        context_length=6,
        activation="gelu_tanh",
        dropout=0.1,
    ),
}
TRAINED_BY = {"code": "code", "kernels": "numba", "numpy": "2.2.6", "numba": "0.61.2"}
every_rung = pytest.mark.parametrize("kind", RUNGS)

# What a run may be asked for besides; each is interrupted, and run by several threads.
FEATURES: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": OptimizerConfig("adam", 0.02, (0.9, 0.95), 1e-8, *[None] * 4)},
    "sgd": {"optimizer": SGD},
    "wsd": {"schedule": ScheduleConfig("wsd", 2, 0.1, decay_fraction=0.5)},
    "accumulate": {"accumulate": 2},
    "monitor": {"monitor_every": 2, "evaluate_every": 3},
    "patience": {"patience": 2, "min_improvement": 9.0},  # so much that it ends at step 4
}
every_feature = pytest.mark.parametrize("feature", FEATURES)


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: a killed process loses nothing that it has written."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def make_run(
    folder: Path,
    kind: str = "mlp",
    *,
    seed: int = 0,
    data: str = "data",
    train_tokens: IntArray = TRAIN,
    val_tokens: IntArray = VAL,
    trained_by: dict[str, str] | None = None,
    **changed: Any,
) -> TrainingRun:
    """A run that has not begun; `changed` are training settings, or whole parts of the rung."""
    trained_by = {**TRAINED_BY, **(trained_by or {})}
    folder.mkdir(exist_ok=True)
    rung: Any = RUNGS[kind]
    parts = {name: changed.pop(name) for name in list(changed) if hasattr(rung, name)}
    config = replace(rung, training=replace(rung.training, **changed), **parts)
    model = build_neural(config, VOCABULARY, rng=stream(seed, "weights"))
    origin = Checkpoint(
        kind=kind,
        config=asdict(config),
        seed=seed,
        vocabulary_size=VOCABULARY,
        tokenizer={"name": "char", "characters": CHARACTERS},
        data_digest=data,
        trained_by=trained_by,
    )
    return TrainingRun(model, origin, config, train_tokens, val_tokens, folder)


def files(folder: Path) -> dict[str, bytes]:
    """The final files of a finished run."""
    return {name: (folder / name).read_bytes() for name in (LATEST, BEST, HISTORY)}


def finish(folder: Path, kind: str = "mlp", **changed: Any) -> dict[str, bytes]:
    train(make_run(folder, kind, **changed))
    return files(folder)


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / HISTORY).read_text().splitlines()))


class Killed(BaseException):
    """Not an Exception: nothing may catch it."""


def kill_at(
    patch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool = False
) -> None:
    """Raise Killed at (or right after) the given call of owner.name, counted from 0."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(10**6))

    def deadly(*arguments: Any, **named: Any) -> Any:
        now = next(calls) == call
        if now and not after:
            raise Killed
        result = original(*arguments, **named)
        if now:
            raise Killed
        return result

    patch.setattr(owner, name, deadly)


# --- Learning -------------------------------------------------------------------------------------


@every_rung
def test_the_loss_falls(kind: str, tmp_path: Path) -> None:
    state, speed = train(make_run(tmp_path, kind, steps=60, evaluate_every=20))
    first, last = state.history[0], state.history[-1]
    assert first["val_loss"] == pytest.approx(math.log(VOCABULARY), abs=0.1)
    assert last["val_loss"] < 1.2
    assert last["train_loss"] < state.history[1]["train_loss"]
    assert speed > 0


@every_rung
def test_the_checkpoint_holds_the_trained_model(kind: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, kind)
    state, _ = train(run)
    loaded = Checkpoint.load(tmp_path / LATEST)
    assert loaded.step == state.step == STEPS
    assert loaded.history == state.history
    rows = validation_rows(VAL, TRAINING.sequence_length, TRAINING.evaluate_tokens)
    nats = loaded.restore_models()[kind].nll(rows)
    np.testing.assert_array_equal(nats, run.model.nll(rows))
    assert state.history[-1]["val_loss"] == nats.mean()


@every_rung
def test_the_same_run_gives_the_same_bytes_and_another_seed_others(
    kind: str, tmp_path: Path
) -> None:
    first = finish(tmp_path / "first", kind)
    assert finish(tmp_path / "again", kind) == first
    other = finish(tmp_path / "other", kind, seed=1)
    assert all(other[name] != first[name] for name in first)


def test_the_best_checkpoint_is_that_of_the_least_validation_loss(tmp_path: Path) -> None:
    # A training text with words of its own, read over and over: soon it is learnt by heart.
    state, _ = train(
        make_run(
            tmp_path,
            train_tokens=tokens("had a cab had"),
            steps=60,
            evaluate_every=5,
            clip_norm=None,
        )
    )
    best = Checkpoint.load(tmp_path / BEST)
    scores = {row["step"]: row["val_loss"] for row in state.history[1:]}
    assert scores[best.step] == min(scores.values())
    assert best.step < state.step
    rows = validation_rows(VAL, TRAINING.sequence_length, TRAINING.evaluate_tokens)
    assert best.restore_models()["mlp"].nll(rows).mean() == scores[best.step]


@every_rung
def test_each_step_reads_other_rows_and_draws_another_mask(kind: str, tmp_path: Path) -> None:
    seen, masks = [], []

    def look(rows: IntArray, rng: np.random.Generator) -> None:
        seen.append(rows.tobytes())
        masks.append(rng.bit_generator.state["state"]["state"])
        assert rows.shape == (TRAINING.batch_size, TRAINING.sequence_length + 1)

    with before_each_loss(look):
        train(make_run(tmp_path, kind))
    assert len(set(seen)) == len(set(masks)) == STEPS


@contextmanager
def before_each_loss(look: Callable[[IntArray, np.random.Generator], None]) -> Iterator[None]:
    """In training, `look` sees the rows and the generator that each loss is to be taken of."""
    honest = CapturedLoss.__call__

    def loss(self: CapturedLoss, rows: IntArray, rng: np.random.Generator) -> float:
        look(rows, rng)
        return honest(self, rows, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CapturedLoss, "__call__", loss)
        yield


# --- history.csv ----------------------------------------------------------------------------------


@every_rung
def test_history_has_a_row_before_the_first_step_and_one_an_evaluation(
    kind: str, tmp_path: Path
) -> None:
    finish(tmp_path, kind, steps=5, evaluate_every=2)
    rows = table(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == ["0", "2", "4", "5"]
    assert [row["tokens"] for row in rows] == ["0", "48", "96", "120"]
    known_at_first = ["step", "tokens", "val_loss", DIGEST]
    assert [name for name, cell in rows[0].items() if cell] == known_at_first
    for row in rows[1:]:
        assert all(float(row[name]) > 0 for name in COLUMNS if name != DIGEST)
    assert float(rows[1]["learning_rate_factor"]) == 1
    assert 0.1 < float(rows[-1]["learning_rate_factor"]) < 0.5  # a step short of its end


def test_history_keeps_whole_numbers_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=1_234_567)
    row = dict.fromkeys(COLUMNS, 0.5) | {"step": 1_234_567, "tokens": 29_629_608}
    ended = replace(run.origin, step=1_234_567, history=(row,), **_arrays(run))
    for name in (UNFINISHED, UNFINISHED_BEST):
        ended.save(tmp_path / name)
    train(run)
    assert table(tmp_path)[0]["step"] == "1234567"
    assert table(tmp_path)[0]["tokens"] == "29629608"


def _arrays(run: TrainingRun) -> dict[str, Any]:
    weights = {name: each.value for name, each in run.model.parameters().items()}
    means = {
        f"{kind}.{name}": array for kind in ("mean", "square") for name, array in weights.items()
    }
    return {"model": weights, "optimizer": means}


@every_rung
def test_each_row_has_the_digest_of_the_weights_that_it_tells_of(kind: str, tmp_path: Path) -> None:
    seen: list[str] = []

    def watch(state: Checkpoint) -> None:
        arrays = state.model or initial
        assert state.history[-1][DIGEST] == weights_digest(arrays)
        seen.append(weights_digest(arrays))

    run = make_run(tmp_path, kind)
    initial = {name: each.value.copy() for name, each in run.model.parameters().items()}
    train(run, watch)
    assert [row[DIGEST] for row in table(tmp_path)] == seen
    assert len(set(seen)) == len(seen) == 1 + STEPS // 2
    assert seen[-1] == weights_digest(Checkpoint.load(tmp_path / LATEST).model)


def test_one_bit_of_one_weight_makes_another_digest() -> None:
    arrays = {"a": np.zeros((2, 3), np.float32), "b": np.ones(2, np.float32)}
    digest = weights_digest(arrays)
    assert len(digest) == 16
    assert weights_digest(dict(reversed(arrays.items()))) == digest
    others = (
        {"a": arrays["a"] * -1},  # zeros whose sign alone differs
        {"a": arrays["a"].T},
        {"a": arrays["a"].view(np.int32)},
        {"c": arrays["a"]},
    )
    assert all(weights_digest(arrays | other) != digest for other in others)


def test_the_training_loss_is_the_mean_since_the_last_row(tmp_path: Path) -> None:
    each, _ = train(make_run(tmp_path / "each", evaluate_every=1))
    third, _ = train(make_run(tmp_path / "third", evaluate_every=3))
    losses = [row["train_loss"] for row in each.history[1:]]
    norms = [row["gradient_norm"] for row in each.history[1:]]
    assert [row["train_loss"] for row in third.history[1:]] == pytest.approx(
        [sum(losses[:3]) / 3, sum(losses[3:]) / 3]
    )
    assert [row["gradient_norm"] for row in third.history[1:]] == [max(norms[:3]), max(norms[3:])]


@pytest.mark.parametrize("feature", [None, "sgd", "wsd", "accumulate", "monitor"])
@pytest.mark.parametrize("evaluate_every", [1, 3, 6, 100])
@every_rung
def test_how_often_one_evaluates_does_not_change_what_is_learnt(
    kind: str, evaluate_every: int, feature: str | None, tmp_path: Path
) -> None:
    changed = FEATURES[feature] if feature else {}
    usual, _ = train(make_run(tmp_path / "usual", kind, **changed))
    changed = changed | {"evaluate_every": evaluate_every, "evaluate_tokens": 30}
    other, _ = train(make_run(tmp_path / "other", kind, **changed))
    assert other.step == STEPS
    digests = {row["step"]: row[DIGEST] for row in usual.history}
    common = [row for row in other.history if row["step"] in digests]
    assert [common[0]["step"], common[-1]["step"]] == [0, STEPS]
    assert all(row[DIGEST] == digests[row["step"]] for row in common)
    for ours, theirs in ((usual.model, other.model), (usual.optimizer, other.optimizer)):
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])


# --- Accumulation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [2, 4])
@every_rung
def test_micro_batches_learn_what_the_whole_batch_does(
    kind: str, accumulate: int, tmp_path: Path
) -> None:
    found = []
    for n in (1, accumulate):
        run = make_run(tmp_path / str(n), kind, accumulate=n, optimizer=SGD)
        run.model.astype(np.float64)
        for module in (run.model, *getattr(run.model, "blocks", [])):
            vars(module)["dropout"] = 0.0  # its masks are drawn micro-batch by micro-batch
        found.append(train(run)[0])
    whole, parts = found
    for name, array in whole.model.items():
        np.testing.assert_allclose(parts.model[name], array, rtol=1e-10, atol=1e-14, err_msg=name)
    for ours, theirs in zip(whole.history[1:], parts.history[1:], strict=True):
        assert ours.pop(DIGEST) != theirs.pop(DIGEST)  # of weights that rounding parts
        assert ours == pytest.approx(theirs, rel=1e-10)


@every_rung
def test_micro_batches_are_the_rows_of_the_whole_batch(kind: str, tmp_path: Path) -> None:
    seen: dict[int, list[IntArray]] = {1: [], 4: []}
    for n, batches in seen.items():
        with before_each_loss(lambda rows, rng, batches=batches: batches.append(rows)):
            train(make_run(tmp_path / str(n), kind, accumulate=n))
    assert {len(rows) for rows in seen[4]} == {1}
    np.testing.assert_array_equal(np.concatenate(seen[4]), np.concatenate(seen[1]))


@every_rung
def test_accumulation_takes_the_memory_of_one_micro_batch(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "PARTS", 1)
    train(make_run(tmp_path / "first", kind))  # loads compiled kernels

    def peak(batch_size: int, accumulate: int) -> int:
        """Bytes that Python and NumPy ask for, of which the weights are next to nothing."""
        settings = {"batch_size": batch_size, "accumulate": accumulate, "steps": 3}
        run = make_run(tmp_path / f"{batch_size} in {accumulate}", kind, **settings)
        tracemalloc.start()
        train(run)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, parts, whole = peak(64, 1), peak(512, 8), peak(512, 1)
    assert parts < 1.3 * small
    assert whole > 3 * small


# --- Monitoring -----------------------------------------------------------------------------------


def test_gradient_norms_of_groups_are_parts_of_the_whole(tmp_path: Path) -> None:
    state, _ = train(make_run(tmp_path, "transformer", evaluate_every=1, monitor_every=1))
    for row in state.history[1:]:
        norms = [row[f"gradient_norm.{group}.max"] for group in GROUPS]
        assert min(norms) > 0
        assert [row[f"gradient_norm.{group}.mean"] for group in GROUPS] == norms  # of one step
        assert math.hypot(*norms) == pytest.approx(row["gradient_norm"], rel=1e-6)


@every_rung
def test_gradient_norms_of_groups_are_mean_and_maximum_of_the_steps_monitored(
    kind: str, tmp_path: Path
) -> None:
    each, _ = train(make_run(tmp_path / "each", kind, evaluate_every=1, monitor_every=1))
    some, _ = train(make_run(tmp_path / "some", kind, evaluate_every=4, monitor_every=2))
    series = [row["gradient_norm.embedding.max"] for row in each.history[1:]]
    for row, norms in zip(some.history[1:], [[series[1], series[3]], [series[5]]], strict=True):
        assert row["gradient_norm.embedding.mean"] == pytest.approx(sum(norms) / len(norms))
        assert row["gradient_norm.embedding.max"] == max(norms)


@every_rung
def test_monitoring_adds_columns_and_changes_nothing_else(kind: str, tmp_path: Path) -> None:
    plain, _ = train(make_run(tmp_path / "plain", kind))
    monitored, _ = train(make_run(tmp_path / "monitored", kind, monitor_every=4))
    for name, array in plain.model.items():
        np.testing.assert_array_equal(monitored.model[name], array)
    for ours, theirs in zip(table(tmp_path / "plain"), table(tmp_path / "monitored"), strict=True):
        assert tuple(ours) == COLUMNS
        assert {name: theirs[name] for name in COLUMNS} == ours
        norms = [cell for name, cell in theirs.items() if name not in COLUMNS]
        assert len(norms) >= 6
        assert all(norms) if ours["step"] == "4" else not any(norms)


# --- Patience -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "min_improvement", "expected"),
    [
        ([3.0], 0.0, 0),
        ([3.0, 2.0], 0.0, 0),
        ([3.0, 3.0], 0.0, 1),  # as good is no better
        ([3.0, 2.0, 2.5, 2.1], 0.0, 2),
        ([3.0, 2.0, 2.5, 1.9], 0.0, 0),
        ([3.0, 2.75, 2.5], 0.25, 0),
        ([3.0, 2.875, 2.75], 0.25, 0),  # little by little, compared with the last improvement
        ([3.0, 2.875, 2.8125], 0.25, 2),
    ],
)
def test_an_improvement_is_on_the_last_one_and_by_enough(
    scores: list[float], min_improvement: float, expected: int
) -> None:
    assert waited(scores, min_improvement) == expected


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_training_ends_when_patience_does(
    patience: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"patience": patience, "min_improvement": 9.0, "steps": 100}
    state, speed = train(make_run(tmp_path, **settings))
    assert state.step == Checkpoint.load(tmp_path / LATEST).step == 2 * patience
    assert [row[WAITED] for row in table(tmp_path)] == [str(n) for n in range(patience + 1)]
    told = f"mlp: stopped at step {state.step} of 100, after {patience} evaluations without"
    assert told in capsys.readouterr().out
    assert speed > 0
    again, speed = train(make_run(tmp_path, **settings))
    assert again.step == state.step
    assert math.isnan(speed)


def test_a_model_that_only_learns_by_heart_is_stopped_and_its_best_is_kept(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "steps": 60,
        "evaluate_every": 5,
        "clip_norm": None,
        "train_tokens": tokens("had a cab had"),
    }
    patient, _ = train(make_run(tmp_path / "patient", patience=3, **settings))
    whole, _ = train(make_run(tmp_path / "whole", **settings))
    assert patient.step < whole.step
    scores = [row["val_loss"] for row in patient.history]
    assert scores == [row["val_loss"] for row in whole.history[: len(scores)]]
    assert scores.index(min(scores)) == len(scores) - 1 - 3
    assert Checkpoint.load(tmp_path / "patient" / BEST).step == patient.step - 3 * 5


def test_patience_that_does_not_end_changes_no_weight(tmp_path: Path) -> None:
    usual, _ = train(make_run(tmp_path / "usual"))
    patient, _ = train(make_run(tmp_path / "patient", patience=9))
    assert patient.step == STEPS
    for name, array in usual.model.items():
        np.testing.assert_array_equal(patient.model[name], array)


# --- Interruptions --------------------------------------------------------------------------------


@every_feature
@every_rung
def test_a_run_asked_for_more_ends_with_the_same_bytes_wherever_it_was_interrupted(
    kind: str, feature: str, tmp_path: Path
) -> None:
    expected = finish(tmp_path / "whole", kind, **FEATURES[feature])
    steps = Checkpoint.load(tmp_path / "whole" / LATEST).step
    assert steps == (4 if feature == "patience" else STEPS)
    for after in range(1, steps + 1):
        folder = tmp_path / str(after)

        def step(_: TrainingProgress, done: int, train_loss: float, after: int = after) -> None:
            if done == after:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingProgress, "step", step)
            with pytest.raises(KeyboardInterrupt):
                train(make_run(folder, kind, **FEATURES[feature]))
        assert Checkpoint.load(folder / UNFINISHED).step == after
        assert finish(folder, kind, **FEATURES[feature]) == expected


@every_feature
def test_a_run_asked_for_more_that_was_killed_again_and_again_ends_with_the_same_bytes(
    feature: str, tmp_path: Path
) -> None:
    expected = finish(tmp_path / "whole", "transformer", **FEATURES[feature])
    for name in ("evaluated", "evaluated", "step"):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, TrainingProgress, name, 0)
            with contextlib.suppress(Killed):  # no step may be left to be killed in
                train(make_run(tmp_path / "killed", "transformer", **FEATURES[feature]))
    assert finish(tmp_path / "killed", "transformer", **FEATURES[feature]) == expected


@pytest.fixture(scope="module", params=list(RUNGS))
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, bytes]]:
    """A rung, and the files of its run when nothing interrupts it."""
    return request.param, finish(tmp_path_factory.mktemp("whole"), request.param)


# What a run is killed in, how many times it comes there, and whether it is killed after that.
MOMENTS = [
    *((TrainingProgress, "evaluated", call, False) for call in range(STEPS // 2)),
    *((TrainingProgress, "step", call, False) for call in range(STEPS)),
    *((os, "replace", call, after) for call in range(10) for after in (False, True)),
]


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    MOMENTS,
    ids=[f"{name} {call}{' done' if after else ''}" for _, name, call, after in MOMENTS],
)
def test_a_run_that_was_killed_ends_with_the_same_bytes(
    owner: Any,
    name: str,
    call: int,
    after: bool,
    whole: tuple[str, dict[str, bytes]],
    tmp_path: Path,
) -> None:
    kind, expected = whole
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, owner, name, call, after=after)
        with pytest.raises(Killed):
            train(make_run(tmp_path, kind))
    assert finish(tmp_path, kind) == expected


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(
    whole: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    kind, expected = whole
    for _ in range(STEPS // 2):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, TrainingProgress, "evaluated", 0)
            with pytest.raises(Killed):
                train(make_run(tmp_path, kind))
    assert finish(tmp_path, kind) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", range(1, STEPS + 1))
def test_a_signal_ends_a_run_after_the_step_that_it_came_in(
    number: int, after: int, whole: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    kind, expected = whole

    def step(_: TrainingProgress, done: int, train_loss: float) -> None:
        if done == after:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingProgress, "step", step)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            train(make_run(tmp_path, kind))
    assert exit_status(interrupt.value) == 128 + number
    assert Checkpoint.load(tmp_path / UNFINISHED).step == after
    assert finish(tmp_path, kind) == expected


def test_a_second_signal_does_not_wait_for_the_step(tmp_path: Path) -> None:
    def step(_: TrainingProgress, done: int, train_loss: float) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingProgress, "step", step)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            train(make_run(tmp_path))
    assert exit_status(interrupt.value) == 128 + signal.SIGTERM
    assert not (tmp_path / UNFINISHED).exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_training_leaves_signals_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        state, _ = threads.submit(train, make_run(tmp_path)).result()
    assert state.step == STEPS


def test_a_resumed_run_takes_only_the_steps_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, TrainingProgress, "evaluated", 1)
        with pytest.raises(Killed):
            train(make_run(tmp_path))
    assert not (tmp_path / LATEST).exists()
    steps: list[int] = []
    monkeypatch.setattr(TrainingProgress, "step", lambda _, done, loss: steps.append(done))
    capsys.readouterr()
    finish(tmp_path)
    assert steps == [5, 6]
    assert "mlp: going on from step 4" in capsys.readouterr().out


def train_in(folder: str, killed_at: int) -> None:
    """For a process of its own, which dies by its own hand after a step."""

    def step(_: TrainingProgress, done: int, train_loss: float) -> None:
        if done == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingProgress, "step", step)
        train(make_run(Path(folder), "transformer"))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_process_that_was_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import runpy, sys;runpy.run_path(sys.argv[1])['train_in'](sys.argv[2], int(sys.argv[3]))"
    )

    def run(folder: str, killed_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, __file__, str(tmp_path / folder), str(killed_at)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert run("killed", 5).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / LATEST).exists()
    resumed, whole = run("killed", 0), run("whole", 0)
    assert (resumed.returncode, whole.returncode) == (0, 0), resumed.stderr + whole.stderr
    assert "going on from step 4" in resumed.stdout
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = finish(tmp_path)
    discard_unfinished(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {LATEST, BEST, HISTORY, TRAINED}

    def no_step(*_: Any) -> None:
        raise AssertionError("a step was taken")

    monkeypatch.setattr(TrainingProgress, "step", no_step)
    run = make_run(tmp_path)
    state, speed = train(run)
    assert files(tmp_path) == expected
    assert state.step == STEPS
    assert math.isnan(speed)
    for name, tensor in run.model.parameters().items():
        np.testing.assert_array_equal(tensor.value, state.model[name])


OTHERS: dict[str, dict[str, Any]] = {
    "of other settings": {"seed": 1},
    "of other data": {"data": "other"},
    "of other settings, in training": {"steps": 4},
    "of other settings, in the optimizer": {"optimizer": replace(ADAMW, epsilon=1e-7)},
    "of other code": {"trained_by": {"code": "other"}},
    "of kernels numba, not numpy": {"trained_by": {"kernels": "numpy"}},
    "of numpy 2.2.6, not 2.3.0": {"trained_by": {"numpy": "2.3.0"}},
    "of numba 0.61.2, not 0.62.0": {"trained_by": {"numba": "0.62.0"}},
}


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_run_is_not_resumed_and_the_run_says_why(
    other: str, unfinished: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_run(tmp_path / "run"))
    if unfinished:
        for name in (LATEST, BEST, HISTORY):
            (tmp_path / "run" / name).unlink()
    else:
        discard_unfinished(tmp_path / "run")
    capsys.readouterr()
    found = finish(tmp_path / "run", **OTHERS[other])
    output = capsys.readouterr().out
    name = UNFINISHED if unfinished else LATEST
    if not unfinished and other.startswith(("of numpy", "of numba")):  # a finished run stays
        assert "going on from step 6" in output
    else:
        assert f"{name} is {other.partition(', in')[0]};" in output
        assert output.partition("\n")[0].endswith("; starting again")
        assert "going on" not in output
    assert found == finish(tmp_path / "fresh", **OTHERS[other])


def test_what_trained_a_run_changes_no_byte_of_its_results(tmp_path: Path) -> None:
    other = {"code": "other", "numpy": "2.3.0"}
    assert finish(tmp_path / "a") == finish(tmp_path / "b", trained_by=other)
    records = [json.loads((tmp_path / name / TRAINED).read_text()) for name in ("a", "b")]
    assert [each["identity"]["code"] for each in records] == ["code", "other"]
    assert records[0]["files"] == records[1]["files"]


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"files": 1}', "[" * 10**5], ids=repr)
def test_a_finished_run_without_a_record_of_what_trained_it_starts_again(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = finish(tmp_path)
    discard_unfinished(tmp_path)
    (tmp_path / TRAINED).write_text(damage)
    capsys.readouterr()
    assert finish(tmp_path) == expected
    told = f"{LATEST} is not described by {TRAINED} beside it; starting again"
    assert told in capsys.readouterr().out


def test_files_of_others_in_the_folder_of_a_run_stay(tmp_path: Path) -> None:
    (tmp_path / ".notes.txt.tmp").write_text("mine")
    (tmp_path / ".folder.tmp").mkdir()
    finish(tmp_path)
    discard_unfinished(tmp_path)
    assert (tmp_path / ".notes.txt.tmp").read_text() == "mine"
    assert (tmp_path / ".folder.tmp").is_dir()


@pytest.mark.parametrize("damage", ["cut off", "a bit flipped"])
@pytest.mark.parametrize("name", [LATEST, BEST, UNFINISHED, UNFINISHED_BEST])
def test_a_damaged_checkpoint_is_not_resumed_and_the_run_says_so(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = finish(tmp_path / "fresh")
    finish(tmp_path / "run")
    other = UNFINISHED if name in (LATEST, BEST) else LATEST  # which it would go on from as well
    (tmp_path / "run" / other).unlink()
    path = tmp_path / "run" / name
    *whole, last = path.read_bytes()
    path.write_bytes(bytes(whole) if damage == "cut off" else bytes([*whole, last ^ 1]))
    capsys.readouterr()
    assert finish(tmp_path / "run") == expected
    assert f"{LATEST if name == BEST else name} is " in (told := capsys.readouterr().out)
    assert told.splitlines()[0].endswith("; starting again")


def test_a_finished_run_is_not_replaced_by_what_another_left_unfinished(tmp_path: Path) -> None:
    expected = finish(tmp_path / "fresh")
    finish(tmp_path / "run")
    other = make_run(tmp_path / "other", seed=1)
    train(other)
    for name in (UNFINISHED, UNFINISHED_BEST):
        os.replace(tmp_path / "other" / name, tmp_path / "run" / name)
    assert finish(tmp_path / "run") == expected


def test_the_best_of_another_run_is_not_taken_over_by_a_resumed_one(tmp_path: Path) -> None:
    expected = finish(tmp_path / "fresh")
    train(make_run(tmp_path / "run"))
    train(make_run(tmp_path / "other", seed=1))
    for name in (LATEST, BEST, HISTORY):
        (tmp_path / "run" / name).unlink()
    os.replace(tmp_path / "other" / UNFINISHED_BEST, tmp_path / "run" / UNFINISHED_BEST)
    assert finish(tmp_path / "run") == expected


def test_a_stale_best_checkpoint_does_not_survive_another_run(tmp_path: Path) -> None:
    train(make_run(tmp_path / "run", seed=1))
    assert finish(tmp_path / "run") == finish(tmp_path / "fresh")


# --- Threads --------------------------------------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks so small that even these models are cut into many."""
    before = kernels.threads()
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 8)
    monkeypatch.setattr(blocks, "PRODUCT_ROWS", 3)
    monkeypatch.setattr(blocks, "PRODUCT_WORK", 1 << 6)
    yield
    kernels.set_threads(before)


@pytest.mark.parametrize("feature", [None, *FEATURES])
@every_rung
@pytest.mark.usefixtures("small_blocks")
def test_the_number_of_threads_does_not_change_the_bytes(
    kind: str, feature: str | None, tmp_path: Path
) -> None:
    found = []
    for n_threads in (1, 2, 3):
        kernels.set_threads(n_threads)
        changed = FEATURES[feature] if feature else {}
        found.append(finish(tmp_path / str(n_threads), kind, **changed))
    assert found[0] == found[1] == found[2]


# --- What cannot be trained -----------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 2, 5])
@every_rung
def test_a_loss_that_is_not_finite_names_its_step_and_keeps_the_last_good_checkpoint(
    kind: str, at: int, tmp_path: Path
) -> None:
    run = make_run(tmp_path, kind, evaluate_every=1)
    calls = itertools.count()

    def ruin(rows: IntArray, rng: np.random.Generator) -> None:
        if next(calls) == at:
            next(iter(run.model.parameters().values())).value[...] = math.nan

    with (
        before_each_loss(ruin),
        pytest.raises(RunError, match=f"{kind}: loss nan .*at step {at + 1}; ") as caught,
    ):
        train(run)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / LATEST).exists()
    if at == 0:
        assert not list(tmp_path.iterdir())
    else:
        kept = Checkpoint.load(tmp_path / UNFINISHED)
        assert kept.step == at
        assert all(np.isfinite(array).all() for array in kept.model.values())


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_is_traced_to_the_first_layer_where_that_begins(
    accumulate: int, tmp_path: Path
) -> None:
    run = make_run(tmp_path, "transformer", evaluate_every=1, accumulate=accumulate)
    weight = run.model.parameters()["blocks.0.attention.key.weight"]
    calls = itertools.count()

    def ruin(rows: IntArray, rng: np.random.Generator) -> None:
        if next(calls) == 3 * accumulate:  # in the fourth step
            weight.value[...] = 3e38 * np.sign(weight.value)

    begins = "the first that is not finite is the output of blocks.0.attention.key"
    message = f"loss nan .*at step 4; {begins}; try a lower"
    with before_each_loss(ruin), pytest.raises(RunError, match=message):
        train(run)
    assert Checkpoint.load(tmp_path / UNFINISHED).step == 3


@pytest.mark.parametrize(("deviation", "step"), [(1e30, 1), (1e38, 0)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_before_any_update_is_put_down_to_the_initial_weights(
    deviation: float, step: int, tmp_path: Path
) -> None:
    run = make_run(tmp_path, "transformer", init_std=deviation, init_from=None)
    cause = f"initial weights are the cause: transformer.init_std={deviation}"
    with pytest.raises(RunError, match=f" at step {step}; .*{re.escape(cause)}"):
        train(run)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_search_for_it_repeats_the_parts_of_the_step_with_the_numbers_that_they_drew(
    accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "PART_NUMBERS", 4)
    run = make_run(tmp_path, "transformer", accumulate=accumulate)
    seen: list[Any] = []
    honest = run.model.loss

    def loss(rows: IntArray, rng: np.random.Generator) -> Tensor:
        seen.append((rows.tolist(), rng.bit_generator.state))
        last = len(seen) % TRAINING.batch_size == 0  # each row is a part
        return honest(rows, rng) * (math.inf if last else 1.0)

    monkeypatch.setattr(run.model, "loss", loss)
    with pytest.raises(RunError, match="the first that is not finite is "):
        train(run)
    assert len(seen) == 2 * TRAINING.batch_size
    assert seen[: TRAINING.batch_size] == seen[TRAINING.batch_size :]
    assert not blocks._thread.no_partitioning


@pytest.mark.parametrize("evaluate_every", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 6])
@every_rung
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_diverges_fails_and_keeps_no_checkpoint_of_ruined_weights(
    kind: str, steps: int, evaluate_every: int, tmp_path: Path
) -> None:
    wild = replace(RUNGS[kind].optimizer, learning_rate=1e39, weight_decay=0.0)
    run = make_run(tmp_path, kind, steps=steps, evaluate_every=evaluate_every, optimizer=wild)
    with pytest.raises(RunError, match=r"at step \d; the first that is not finite is "):
        train(run)
    assert not (tmp_path / LATEST).exists()
    assert not (tmp_path / UNFINISHED).exists()


@every_rung
def test_a_text_shorter_than_a_row_is_refused(kind: str, tmp_path: Path) -> None:
    row = TRAINING.sequence_length + 1
    with pytest.raises(InputError, match=f"{row - 1} tokens is shorter than one row of {row}"):
        train(make_run(tmp_path / "train", kind, train_tokens=TRAIN[: row - 1]))
    with pytest.raises(InputError, match=f"validation text of {row - 1} tokens is shorter"):
        train(make_run(tmp_path / "val", kind, val_tokens=VAL[: row - 1]))
    for folder in ("train", "val"):
        assert not list((tmp_path / folder).iterdir())


@every_rung
def test_texts_of_exactly_one_row_are_enough(kind: str, tmp_path: Path) -> None:
    row = TRAINING.sequence_length + 1
    state, _ = train(make_run(tmp_path, kind, train_tokens=TRAIN[:row], val_tokens=VAL[:row]))
    assert state.step == STEPS


def test_unknown_schedules_and_optimizers_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="unknown schedule 'cosin'; choose from"):
        train(make_run(tmp_path, schedule=replace(SCHEDULE, name="cosin")))
    with pytest.raises(InputError, match="unknown optimizer 'adma'; choose from"):
        train(make_run(tmp_path, optimizer=replace(ADAMW, name="adma")))
    assert not list(tmp_path.iterdir())


# --- Validation rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_val", "n_tokens", "expected"),
    [(100, 50, 5), (100, 1, 1), (11, 10**6, 1), (12, 10**6, 1), (100, 10**6, 9), (101, 10**6, 10)],
)
def test_validation_rows_spread_over_the_whole_text(
    n_val: int, n_tokens: int, expected: int
) -> None:
    rows = validation_rows(np.arange(n_val), 10, n_tokens)
    assert rows.shape == (expected, 11)
    np.testing.assert_array_equal(rows - rows[:, :1], np.tile(np.arange(11), (expected, 1)))
    assert rows[0, 0] == 0
    if expected > 1:
        assert rows[-1, -1] == n_val - 1
        gaps = np.diff(rows[:, 0])
        assert gaps.max() - gaps.min() <= 1
        assert gaps.min() >= 10  # no token is predicted twice
