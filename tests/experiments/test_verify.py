"""`lmladder verify`: a run that differs is found at the step at which it does."""

import shutil
from dataclasses import replace

from lmladder import kernels
from lmladder.data import Prepared
from lmladder.models import rung_settings
from lmladder.pipeline.rungs import Rung
from lmladder.training.checkpoint import BEST, LATEST, Checkpoint
from lmladder.training.history import DIGEST
from lmladder.training.loop import UNFINISHED
from tests.data.examples import prepared_text
from tests.experiments.folders import write_record
from tests.training.examples import RUNGS, STEPS

import pytest

COUNTS = rung_settings("counts")(kind="counts", add_k=0.1, kneser_ney_orders=[3])


def write_run(folder, stage, prepared):
    folder.mkdir(parents=True)
    settings = COUNTS if stage == "bigram" else RUNGS[stage]
    rung = Rung(stage, stage, stage, settings)
    fitted = rung.kind.fit(rung.start(3, prepared), settings, prepared, folder)
    if stage == "bigram":
        replace(fitted, trained_by={}).save(folder / LATEST)
    else:
        write_record(folder, [], runtime__kernels=kernels.selected())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    prepared = prepared_text(folder / "prepare", "a bad head had a bed " * 30)
    for stage in ("bigram", "mlp"):
        write_run(folder / stage, stage, prepared)
    return folder


@pytest.fixture
def runs(finished, tmp_path, monkeypatch):
    """A copy of `finished` that the test may change, and works in."""
    shutil.copytree(finished, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


def change(path, **fields):
    """Give a checkpoint other contents, sealed again."""
    replace(Checkpoint.load(path), **fields).save(path)


def test_runs_reproduce_with_the_kernels_that_trained_them_and_are_not_changed(runs, lmladder):
    kernels.select("numpy")
    write_run(runs / "other", "mlp", Prepared.open(runs / "prepare"))
    kernels.select("numba")
    (runs / "mlp" / UNFINISHED).touch()  # of a later run that was interrupted
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    done = lmladder("verify", "bigram", "mlp", f"mlp/{BEST}", "other").succeeded()
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == [
        "the same weights"
    ] * 4
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


CHANGES = {  # of a checkpoint, by the step at which it then differs
    0: lambda state: {"seed": 4},
    4: lambda state: {"history": tuple(
        row | {DIGEST: "0" * 16} if row["step"] == 4 else row for row in state.history
    )},
    STEPS: lambda state: {"model": {name: -each for name, each in state.model.items()}},
}  # fmt: skip


@pytest.mark.parametrize("step", CHANGES)
def test_a_changed_run_differs_and_other_runs_are_verified(runs, lmladder, step):
    path = runs / "mlp" / LATEST
    change(path, **CHANGES[step](Checkpoint.load(path)))
    done = lmladder("verify", "mlp", "bigram")
    assert done.stdout == f"mlp: differs at step {step}\nbigram: the same weights\n"
    assert (done.status, done.stderr.splitlines()[-1]) == (1, "error: not reproduced: mlp")


def test_what_cannot_be_trained_again_is_one_line(runs, lmladder):
    prepared_text(runs / "other/prepare", "a bad head had a bad bed " * 30)
    (runs / "mlp").rename(runs / "other/mlp")
    lmladder("verify", "other/mlp").failed_in_one_line(2, "was not trained on", "other/prepare")
    (runs / "other/mlp").rename(runs / "mlp")
    for fields in ({"trained_by": {"code": "x"}}, {"history": ()}):
        change(runs / "mlp" / LATEST, **fields)
        lmladder("verify", "mlp").failed_in_one_line(2, "not of a finished run")
    (runs / "mlp" / LATEST).write_bytes(b"weights")
    lmladder("verify", "mlp").failed_in_one_line(2, f"mlp/{LATEST}")
