"""`lmladder verify`: each verdict on a run is given for its own reason, and for no other."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from lmladder import kernels
from lmladder.data import Prepared
from lmladder.evaluation import write_scores
from lmladder.experiments.jobs import MACHINE, code_digest
from lmladder.models.registry import KINDS
from lmladder.pipeline.rungs import Rung
from lmladder.system import environment
from lmladder.system.files import atomic_write
from lmladder.training.checkpoint import BEST, LATEST, TRAINED, Checkpoint, weights_digest
from lmladder.training.fit import begin, count, write_metrics
from lmladder.training.history import DIGEST
from lmladder.training.loop import UNFINISHED, discard_unfinished, train
from tests.data.examples import prepared_text
from tests.training.examples import RUNGS, STEPS

import pytest

COUNTS = KINDS.settings("counts")(watch=None, add_k=0.1, kneser_ney_orders=[3])
SEED, SPLIT = 3, (0.6, 0.3, 0.1)
NEURAL = ("mlp", "transformer")
UNKNOWN = "  differs from here: code (unknown)"  # of a changed checkpoint


def write_run(folder, stage, prepared, **changed):
    """Write what a stage leaves; `changed` are settings of its training or of its rung."""
    folder.mkdir(parents=True)
    settings = COUNTS
    if stage != "bigram":
        settings = RUNGS[stage]
        parts = {name: changed.pop(name) for name in list(changed) if hasattr(settings, name)}
        settings = replace(settings, training=replace(settings.training, **changed), **parts)
    state = Rung(stage, stage, stage, settings).first_checkpoint(SEED, prepared)
    if stage == "bigram":
        state = count(state, settings, prepared)
        state.save(folder / LATEST)
        write_scores(folder, "counts", stage, state.restore_models(), prepared, state.settings())
    else:
        run = begin(state, settings, prepared, folder, stage=stage, code=code_digest(stage))
        state, _ = train(run)
        write_metrics(folder, state, run.model, stage)
        discard_unfinished(folder)
    facts = environment.describe(kernels.describe())
    (folder / MACHINE).write_text(json.dumps({"environment": facts}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`prepare`, and a finished run of each stage; no test changes them."""
    folder = tmp_path_factory.mktemp("finished")
    prepared = prepared_text(folder / "prepare", "a bad head had a bed " * 30, split=SPLIT)
    for stage in ("bigram", *NEURAL):
        write_run(folder / stage, stage, prepared)
    return folder


@pytest.fixture
def runs(finished, tmp_path, monkeypatch):
    """A copy of `finished` that the test may change, and works in."""
    shutil.copytree(finished, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return Path(".")


@pytest.fixture
def verify(runs, lmladder):
    """Run `lmladder verify` in this process: exit status, lines of output, the error."""

    def run(*arguments):
        done = lmladder("verify", *arguments)
        lines = done.stdout.splitlines()
        assert all(line.isprintable() for line in lines)
        return done.status, lines, (done.stderr.splitlines() or [""])[-1]

    return run


def change(folder, *names, **fields):
    """Give checkpoints of a run other contents, sealed again; by default the latest, alone."""
    for name in names or (LATEST,):
        replace(Checkpoint.load(folder / name), **fields).save(folder / name)
    if not names:
        (folder / BEST).unlink(missing_ok=True)


def only_checkpoints(folder):
    for path in folder.iterdir():
        if path.suffix == ".csv" or path.name == "metrics.json":
            path.unlink()


def with_row(state, index, **fields):
    """Return the history of a checkpoint with other values in one row."""
    history = list(state.history)
    history[index] = history[index] | fields
    return tuple(history)


def with_training(state, **fields):
    """Return the settings of a checkpoint with others of its training."""
    return state.config | {"training": state.config["training"] | fields}


def move_elsewhere(folder, **facts):
    """Record that the run was made on another machine, so that rounding may differ."""
    path = folder / MACHINE
    facts = facts or {"processor": "another"}
    environment = json.loads(path.read_text())["environment"]
    path.write_text(json.dumps({"environment": environment | facts}))


# --- Verdicts -------------------------------------------------------------------------------------


def test_runs_reproduce_bit_for_bit_and_are_not_changed(verify, runs):
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    status, lines, _ = verify("bigram", *NEURAL)
    assert status == 0
    assert lines == [
        "bigram: bit-identical: checkpoint, block_losses.csv, metrics.json",
        *(f"{kind}: bit-identical to step 6: checkpoint, history.csv, metrics.json"
          for kind in NEURAL),
    ]  # fmt: skip
    best = Checkpoint.load(runs / "mlp" / BEST).step
    expected = f"mlp/{BEST}: bit-identical to step {best}: checkpoint"
    assert verify(f"mlp/{BEST}")[:2] == (0, [expected])
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("selected", "settings", "steps"),
    [
        ("numba", {"gradient_accumulation_steps": 2, "monitor_every": 2}, STEPS),
        ("numba", {"patience": 2, "min_improvement": 9.0}, 4),
        ("numpy", {}, STEPS),
    ],
    ids=["monitoring", "patience", "kernels"],
)
def test_kernels_and_all_settings_of_a_run_are_repeated(verify, runs, selected, settings, steps):
    kernels.select(selected)
    write_run(runs / "other", "mlp", Prepared.open(runs / "prepare"), **settings)
    kernels.select("numba")
    _, (line,), _ = verify("other", "--threads", 1)  # nothing differs from here
    assert line.startswith(f"other: bit-identical to step {steps}:")


def test_other_code_and_machines_are_named_in_one_line(verify, runs):
    record = json.loads((runs / "mlp" / TRAINED).read_text())
    record["identity"]["code"] = "other"
    (runs / "mlp" / TRAINED).write_text(json.dumps(record))
    move_elsewhere(runs / "mlp", python="CPython 3.99", **{"\x1b[2J": 1})
    status, lines, _ = verify("mlp")
    assert (status, "bit-identical" in lines[0]) == (0, True)
    assert lines[1:] == [r"  differs from here: code, \x1b[2J, python"]
    for name in (TRAINED, MACHINE):
        (runs / "mlp" / name).unlink()
    assert verify("mlp")[1][1:] == [f"{UNKNOWN}, machine and versions (unknown)"]


@pytest.mark.parametrize("kind", NEURAL)
def test_other_rounding_is_tolerated_only_where_it_can_differ(verify, runs, kind):
    kernels.select("numpy")  # sums in another order
    write_run(runs / "other", kind, Prepared.open(runs / "prepare"))
    shutil.copy(runs / kind / TRAINED, runs / "other" / TRAINED)  # of other files
    status, (line, more), _ = verify("other")
    assert status == 0
    assert line.startswith(f"other: losses equal within 0.002 to step {STEPS}; first difference at")
    assert "kernels" in more
    assert verify("other", "--tolerance", 0)[0] == 1


CHANGES = {  # of a checkpoint, and the beginning of the verdict
    "seed": (lambda state: {"seed": 4}, "at step 0 in val_loss: "),
    "loss": (
        lambda state: {"history": with_row(state, 2, train_loss=1.0)}, "at step 4 in train_loss: "
    ),
    "optimizer": (
        lambda state: {"optimizer": {k: v + 1e-6 for k, v in state.optimizer.items()}},
        "at step 6 in optimizer.mean.embedding.weight",
    ),
    "settings": (
        lambda state: {"config": with_training(state, patience=1, min_improvement=9.0)},
        "at step 2 in step: 2, recorded 6",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_checkpoint_does_not_reproduce_and_other_runs_are_verified(verify, runs, name):
    only_checkpoints(runs / "mlp")
    fields, verdict = CHANGES[name]
    change(runs / "mlp", **fields(Checkpoint.load(runs / "mlp" / LATEST)))
    status, (first, more, other), error = verify("mlp", "bigram")
    assert (status, more, error) == (1, UNKNOWN, "error: not reproduced: mlp")
    assert first.startswith(f"mlp: first difference {verdict}")
    assert other.startswith("bigram: bit-identical")


def test_changed_counts_are_found(verify, runs):
    only_checkpoints(runs / "bigram")
    counts = {**Checkpoint.load(runs / "bigram" / LATEST).model}
    counts["counts_1"] = counts["counts_1"][::-1].copy()
    change(runs / "bigram", model=counts)
    move_elsewhere(runs / "bigram")
    status, (line, _), _ = verify("bigram")
    assert (status, line) == (1, "bigram: first difference at step 0 in model.counts_1")


def test_weights_that_do_not_have_their_recorded_loss_are_found(verify, runs):
    state = Checkpoint.load(runs / "mlp" / LATEST)
    weights = {name: -each for name, each in state.model.items()}
    only_checkpoints(runs / "mlp")
    history = with_row(state, -1, **{DIGEST: weights_digest(weights)})
    change(runs / "mlp", model=weights, history=history)
    for found in (f"at step 6 in {DIGEST}: ", "beyond 0.002 at step 6 in val_loss: "):
        status, lines, _ = verify("mlp")
        assert (status, lines[0].startswith(f"mlp: first difference {found}")) == (1, True)
        move_elsewhere(runs / "mlp")


# --- Rejected -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["bigram/metrics.json", "bigram/block_losses.csv", "mlp/metrics.json", "mlp/history.csv"],
)
def test_a_file_that_its_checkpoint_contradicts_is_rejected_by_name(verify, runs, name):
    path = runs / name
    path.write_bytes(path.read_bytes()[:-2] + b"1\n")
    status, lines, error = verify(path.parent)
    assert (status, lines) == (2, [])
    assert error == f"error: {path} is not what {path.parent / LATEST} gives: it was changed"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step": 5}, "its history does not end at step 5"),
        ({"tokenizer": {"name": "byte"}}, "its tokenizer is not that of its text"),
        ({"model": {}}, "does not fit its own configuration"),
        ({"step": 0}, "is of step 0: its model was not trained here"),
        ({"trained_by": {"code": "x"}}, "is of a run that has not finished"),
    ],
    ids=str,
)
def test_a_checkpoint_that_no_finished_run_has_is_rejected(verify, runs, fields, message):
    change(runs / "mlp", **fields)
    status, _, error = verify("mlp")
    assert status == 2
    assert message in error


def test_unfinished_and_mixed_checkpoints_are_rejected(verify, runs):
    change(runs / "mlp", BEST, seed=9)
    assert "are of two runs" in verify("mlp")[2]
    change(runs / "mlp", trained_by={"code": "x"})
    shutil.move(runs / "mlp" / LATEST, runs / "mlp" / UNFINISHED)
    assert "has not finished" in verify(f"mlp/{UNFINISHED}")[2]


def test_files_that_are_not_runs_are_rejected_before_any_run_is_repeated(verify, runs):
    path = runs / "mlp" / LATEST
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    status, lines, error = verify("transformer", "mlp")
    assert (status, lines) == (2, [])
    assert f"{path} is damaged: it has sha256 " in error


def test_the_text_is_that_of_the_ladder_of_a_run_or_else_of_the_pipeline(verify, runs):
    shutil.copytree(runs / "bigram", runs / "alone/bigram")
    assert "outputs/prepare" in verify("alone/bigram")[2]
    shutil.copytree(runs / "prepare", runs / "outputs/prepare")
    assert verify("alone/bigram", f"bigram/{LATEST}")[0] == 0
    other = prepared_text(runs / "other", "a bad head had a bad bed " * 30, split=SPLIT)
    status, _, error = verify("mlp", "--prepared", "other")
    assert status == 2
    for named in ("mlp", other.digest[:12], "other", "--prepared", "dvc repro prepare"):
        assert named in error


def test_a_run_is_repeated_from_the_same_initial_weights(verify, runs, tmp_path):
    given = tmp_path / "given.safetensors"
    shutil.copy(runs / "transformer" / LATEST, given)
    prepared = Prepared.open(runs / "prepare")
    write_run(runs / "other", "transformer", prepared, init_from=str(given), watch=str(given))
    assert "bit-identical" in verify("other")[1][0]
    atomic_write(given, (runs / "transformer" / BEST).read_bytes())
    change(tmp_path, given.name, seed=9)
    status, _, error = verify("other")
    assert status == 2
    assert f"transformer.init_from={given} has sha256 " in error
