"""`lmladder verify`: each verdict on a run is given for what it is meant for, and nothing else."""

import json
import re
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

from lmladder import kernels, training
from lmladder.cli.main import main as cli
from lmladder.config import BigramConfig, SampleConfig, TokenizerConfig
from lmladder.data import LongText, Prepared, write_prepared
from lmladder.experiments.jobs import ENVIRONMENT, TRAINED
from lmladder.experiments.verify import SCORING
from lmladder.fitting import begin, write_metrics
from lmladder.rung import count, first_checkpoint, write_samples, write_scores
from lmladder.system import environment
from lmladder.system.files import atomic_write
from lmladder.training import UNFINISHED, UNFINISHED_BEST, discard_unfinished, train
from lmladder.training.checkpoint import BEST, LATEST, Checkpoint, weights_digest
from lmladder.training.history import DIGEST

import numpy as np
import pytest
import yaml
from tests.test_training import RUNGS

CHAR = TokenizerConfig("char", None, None)
SPLIT = {"train": 0.6, "val": 0.3, "test": 0.1}
SAMPLE = SampleConfig("a ", 20, 0.8, 3, 1.0, 0.0, 1.0, None, 2, ["h"])
SEED, STEPS = 3, 6
NEURAL = ("mlp", "transformer")
UNKNOWN = "  differs from here: code (unknown)"  # of a changed checkpoint


def configuration(kind, **changed):
    """Settings of a rung; `changed` are settings of its training."""
    if kind == "bigram":
        return BigramConfig(add_k=0.1, kneser_ney_orders=[3])
    given = {"init_from": None, "watch": "data/tales.yaml"} if kind == "transformer" else {}
    rung = RUNGS[kind]
    return replace(rung, training=replace(rung.training, **changed), **given)


def write_text(folder, text):
    corpus = LongText.of("letters", text)
    write_prepared(folder, corpus, tokenizer=CHAR, **SPLIT, seed=0, settings={})
    return Prepared.open(folder)


def write_run(folder, kind, prepared, config=None):
    """Write what the stage of a rung leaves."""
    (folder / ".hydra").mkdir(parents=True)
    config = config or configuration(kind)
    settings = {"seed": SEED, kind: asdict(config), "sample": asdict(SAMPLE)}
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
    state = first_checkpoint(kind, config, SEED, prepared)
    if kind == "bigram":
        state = count(state, config, prepared)
        state.save(folder / LATEST)
        write_scores(folder, state.restore_models(), prepared, SCORING)
    else:
        run = begin(state, config, prepared, folder)
        state, _ = train(run)
        write_metrics(folder, state, run.model)
        discard_unfinished(folder)
    write_samples(folder, state, state.restore_models(), SAMPLE, prepared)
    (folder / ENVIRONMENT).write_text(json.dumps(environment.describe()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`prepare`, and a finished run of each kind; read only."""
    folder = tmp_path_factory.mktemp("finished")
    prepared = write_text(folder / "prepare", "a bad head had a bed " * 30)
    for kind in ("bigram", *NEURAL):
        write_run(folder / kind, kind, prepared)
    return folder


@pytest.fixture
def runs(finished, tmp_path, monkeypatch):
    """A copy of `finished` that the test may change, and works in."""
    shutil.copytree(finished, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return Path(".")


@pytest.fixture
def verify(runs, monkeypatch, capsys):
    """Run `lmladder verify` in this process: exit status, lines of output, the error."""
    threads = kernels.threads()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmladder", "verify", *map(str, arguments)])
        capsys.readouterr()  # what was printed before
        with pytest.raises(SystemExit) as end:
            cli.main()
        stdout, stderr = capsys.readouterr()
        assert all(line.isprintable() for line in stdout.splitlines())
        return end.value.code, stdout.splitlines(), (stderr.splitlines() or [""])[-1]

    yield run
    kernels.set_threads(threads)
    kernels.select("numba")


def change(folder, *names, **fields):
    """Give checkpoints of a run other contents, sealed again; the latest by default."""
    for name in names or (LATEST,):
        replace(Checkpoint.load(folder / name), **fields).save(folder / name)
    if names == ():
        (folder / BEST).unlink(missing_ok=True)


def with_line(folder, index, **fields):
    """The history of a run with other contents in one line."""
    history = list(Checkpoint.load(folder / LATEST).history)
    history[index] = history[index] | fields
    return tuple(history)


def other_machine(folder, **facts):
    """The run was made elsewhere, so that other roundings are to be expected."""
    path = folder / ENVIRONMENT
    facts = facts or {"processor": {"name": "another"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def only_checkpoints(folder):
    for path in folder.iterdir():
        if path.suffix in (".csv", ".txt") or path.name == "metrics.json":
            path.unlink()


# --- Verdicts -------------------------------------------------------------------------------------


def test_runs_reproduce_bit_for_bit(verify):
    status, lines, _ = verify("bigram", *NEURAL)
    assert status == 0
    assert lines == [
        "bigram: bit-identical: checkpoint, block_losses.csv, metrics.json, samples.txt",
        *(
            f"{kind}: bit-identical to step 6: checkpoint, history.csv, metrics.json, samples.txt"
            for kind in NEURAL
        ),
    ]


@pytest.mark.parametrize("name", [LATEST, BEST])
def test_a_file_is_verified_up_to_its_own_step(verify, runs, name):
    step = Checkpoint.load(runs / "mlp" / name).step
    assert verify(f"mlp/{name}")[:2] == (
        0,
        [f"mlp/{name}: bit-identical to step {step}: checkpoint"],
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate": 2},
        {"monitor_every": 2, "evaluate_every": 3},
        {"patience": 2, "min_improvement": 9.0},
    ],
    ids=str,
)
def test_whatever_training_was_asked_for_is_repeated(verify, runs, settings):
    write_run(
        runs / "other", "mlp", Prepared.open(runs / "prepare"), configuration("mlp", **settings)
    )
    steps = 4 if "patience" in settings else STEPS
    assert verify("other", "--threads", 1)[1][0].startswith(
        f"other: bit-identical to step {steps}:"
    )


def test_the_kernels_are_those_of_the_run(verify, runs):
    kernels.select("numpy")
    write_run(runs / "other", "mlp", Prepared.open(runs / "prepare"))
    kernels.select("numba")
    assert verify("other")[1][0].startswith("other: bit-identical")
    assert len(verify("other")[1]) == 1  # nothing was made elsewhere


def test_other_code_and_machines_are_named_in_one_line(verify, runs):
    record = json.loads((runs / "mlp" / TRAINED).read_text())
    record["identity"]["code"] = "other"
    (runs / "mlp" / TRAINED).write_text(json.dumps(record))
    other_machine(runs / "mlp", python="CPython 3.99", **{"\x1b[2J": 1})
    status, lines, _ = verify("mlp")
    assert (status, "bit-identical" in lines[0]) == (0, True)
    assert lines[1:] == [r"  differs from here: code, \x1b[2J, python"]
    for name in (TRAINED, ENVIRONMENT):
        (runs / "mlp" / name).unlink()
    assert verify("mlp")[1][1:] == [f"{UNKNOWN}, machine and versions (unknown)"]


@pytest.mark.parametrize("kind", NEURAL)
def test_other_roundings_are_tolerated_only_where_they_may_be(verify, runs, kind):
    kernels.select("numpy")  # sums in another order
    write_run(runs / "other", kind, Prepared.open(runs / "prepare"))
    shutil.copy(runs / kind / TRAINED, runs / "other" / TRAINED)  # of other files
    status, (line, more), _ = verify("other")
    found = re.match(
        rf"other: losses equal within 0.002 to step {STEPS}; first difference at", line
    )
    assert (status, bool(found)) == (0, True)
    assert "kernels" in more
    assert verify("other", "--tolerance", 0)[0] == 1


@pytest.mark.parametrize("kind", NEURAL)
def test_a_run_of_another_seed_differs_at_once_and_is_not_repeated_to_its_end(verify, runs, kind):
    change(runs / kind, LATEST, BEST, seed=4)
    (runs / kind / "samples.txt").unlink()
    status, (line, more), error = verify(kind)
    assert (status, more) == (1, UNKNOWN)
    assert line.startswith(f"{kind}: first difference at step 0 in val_loss: ")
    assert error == f"error: not what was recorded: {kind}"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_loss_that_was_changed_is_found(verify, runs, elsewhere):
    only_checkpoints(runs / "mlp")
    change(runs / "mlp", history=with_line(runs / "mlp", 2, train_loss=1.0))
    if elsewhere:
        other_machine(runs / "mlp")
    status, lines, _ = verify("mlp")
    assert status == 1
    beyond = " beyond 0.002" if elsewhere else ""
    assert lines[0].startswith(f"mlp: first difference{beyond} at step 4 in train_loss: ")
    assert lines[0].endswith(", recorded 1.0")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_weights_that_do_not_have_their_loss_are_found(verify, runs, elsewhere):
    weights = {name: -each for name, each in Checkpoint.load(runs / "mlp" / LATEST).model.items()}
    only_checkpoints(runs / "mlp")
    history = with_line(runs / "mlp", -1, **{DIGEST: weights_digest(weights)})
    change(runs / "mlp", model=weights, history=history)
    if elsewhere:
        other_machine(runs / "mlp")
    status, lines, _ = verify("mlp")
    assert status == 1
    name = "val_loss" if elsewhere else DIGEST
    assert re.match(rf"mlp: first difference( beyond 0.002)? at step 6 in {name}: ", lines[0])


def test_one_number_of_the_optimizer_is_found(verify, runs):
    state = {**Checkpoint.load(runs / "transformer" / LATEST).optimizer}
    name = min(state)
    state[name] = state[name] * np.float32(1 + 1e-6)
    change(runs / "transformer", optimizer=state)
    status, lines, _ = verify("transformer")
    told = f"transformer: first difference at step 6 in optimizer.{name}"
    assert (status, lines) == (1, [told, UNKNOWN])


def test_counts_that_were_changed_are_found(verify, runs):
    only_checkpoints(runs / "bigram")
    counts = {**Checkpoint.load(runs / "bigram" / LATEST).model}
    counts["counts_1"] = counts["counts_1"][::-1].copy()
    change(runs / "bigram", model=counts)
    other_machine(runs / "bigram")
    status, lines, error = verify("bigram", "mlp")
    assert (status, error) == (1, "error: not what was recorded: bigram")
    assert lines[0] == "bigram: first difference at step 0 in model.counts_1"
    assert "mlp: bit-identical" in lines[2]  # the other run is verified all the same


def test_one_step_that_is_taken_otherwise_is_found_at_the_next_line(verify, monkeypatch):
    honest, calls = training.clip_scale, iter(range(STEPS))
    other = lambda *given: honest(*given) * (0.5 if next(calls) == 2 else 1)  # noqa: E731
    monkeypatch.setattr(training, "clip_scale", other)
    status, (line,), _ = verify("mlp")
    assert status == 1
    assert "first difference at step 4 in " in line


def test_a_repetition_that_ends_early_differs(verify, runs):
    config = Checkpoint.load(runs / "mlp" / LATEST).config
    patient = config | {"training": config["training"] | {"patience": 1, "min_improvement": 9.0}}
    only_checkpoints(runs / "mlp")
    change(runs / "mlp", config=patient)
    other_machine(runs / "mlp")
    status, lines, _ = verify("mlp")
    assert status == 1
    assert lines[0] == "mlp: first difference beyond 0.002 at step 2 in step: 2, recorded 6"


def test_a_repetition_that_diverges_fails_without_naming_what_is_gone(verify, runs):
    config = Checkpoint.load(runs / "mlp" / LATEST).config
    wild = config | {"optimizer": config["optimizer"] | {"learning_rate": 1e30}}
    change(runs / "mlp", config=wild)
    other_machine(runs / "mlp")
    status, _, error = verify("mlp", "--tolerance", 1)
    assert status == 1
    assert re.search(r"mlp cannot be trained again: mlp: \w*\s?loss .* at step \d$", error)


def test_programs_get_all_of_it(verify, runs):
    change(runs / "mlp", history=with_line(runs / "mlp", 1, **{DIGEST: "0" * 16}))
    only_checkpoints(runs / "mlp")
    status, lines, _ = verify("bigram", "mlp", "--json")
    counts, mlp = json.loads("\n".join(lines))
    assert (status, counts["reproduces"], counts["difference"]) == (1, True, None)
    assert (mlp["reproduces"], mlp["elsewhere"], mlp["compared"]) == (False, ["code (unknown)"], [])
    assert (mlp["difference"]["name"], mlp["difference"]["step"]) == (DIGEST, 2)


def test_the_repetition_leaves_nothing_behind(verify, runs, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    verify("bigram", *NEURAL)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


# --- Rejected -------------------------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("name", ["history.csv", "metrics.json", "samples.txt", "block_losses.csv"])
@pytest.mark.parametrize("kind", ["bigram", "mlp"])
def test_a_file_that_its_checkpoint_contradicts_is_rejected_by_name(
    verify, runs, kind, name, elsewhere
):
    path = runs / kind / name
    if not path.exists():
        pytest.skip(f"{kind} has none")
    path.write_bytes(path.read_bytes()[:-2] + b"1\n")
    if elsewhere:
        other_machine(runs / kind)
    status, lines, error = verify(kind)
    if elsewhere and name == "samples.txt":  # other roundings may draw other tokens
        assert (status, "samples" in lines[0]) == (0, False)
    else:
        assert (status, lines) == (2, [])
        assert error == f"error: {path} is not what {kind}/{LATEST} gives: it was changed"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"step": 5}, "its history does not end at step 5"),
        ({"step": "6"}, "its history does not end at step 6"),
        ({"history": ({"weights": 1},)}, "its history is not a list of losses"),
        ({"history": (7,)}, "its history is not a list of losses"),
        ({"history": ({"step": "6", "val_loss": 1.0},)}, "its history does not end at step 6"),
        ({"history": ({"val_loss": 1.0},) * 2}, "its history is not a list of losses"),
        ({"seed": -1}, "its seed is -1"),
        ({"seed": "x"}, "its seed is 'x'"),
        ({"vocabulary_size": 5}, "does not fit its own configuration"),
        ({"tokenizer": {"name": "byte"}}, "its tokenizer is not that of its text"),
        ({"model": {}}, "does not fit its own configuration"),
        ({"history": ()}, "its history does not end at step 6"),
        ({"step": 0}, "is of step 0: its model was not trained here"),
        ({"trained_by": {"code": "x"}}, "is of a run that has not finished"),
        ({"kind": "oracle"}, "unknown kind 'oracle'"),
        ({"config": {"context_length": 3}}, "missing mandatory value"),
    ],
    ids=str,
)
def test_what_no_finished_run_has_is_rejected(verify, runs, fields, told):
    change(runs / "mlp", **fields)
    status, _, error = verify("mlp")
    assert status == 2
    assert told in error


def test_a_flipped_bit_is_rejected_before_any_run_is_repeated(verify, runs):
    path = runs / "mlp" / LATEST
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    status, lines, error = verify("transformer", "mlp")
    assert (status, lines) == (2, [])
    assert f"{path} is damaged: it has sha256 " in error


@pytest.mark.parametrize("name", [UNFINISHED, UNFINISHED_BEST])
def test_a_run_that_has_not_finished_is_rejected(verify, runs, name):
    change(runs / "mlp", trained_by={"code": "x"})
    shutil.move(runs / "mlp" / LATEST, runs / "mlp" / name)
    assert "has not finished" in verify(f"mlp/{name}")[2]
    shutil.copy(runs / "transformer" / LATEST, runs / "mlp" / LATEST)
    shutil.move(runs / "mlp" / name, runs / "mlp" / UNFINISHED)
    assert "mlp is of a run that has not finished" in verify("mlp")[2]


def test_checkpoints_of_two_runs_in_a_folder_are_rejected(verify, runs):
    change(runs / "mlp", BEST, seed=9)
    assert "are of two runs" in verify("mlp")[2]
    change(runs / "mlp", BEST, seed=SEED, history=with_line(runs / "mlp", 1, val_loss=0.0))
    assert verify("mlp")[0] == 2


@pytest.mark.parametrize("name", ["prepare", ".", "nowhere", "mlp/history.csv"])
def test_what_is_no_run_is_rejected(verify, name):
    assert verify(name)[:2] == (2, [])


def test_another_text_is_rejected_with_the_remedy(verify, runs):
    other = write_text(runs / "other", "a bad head had a bad bed " * 30)
    status, _, error = verify("mlp", "--prepared", "other")
    assert status == 2
    for named in ("mlp", other.digest[:12], "other", "--prepared", "dvc repro prepare"):
        assert named in error


def test_the_text_is_that_of_the_ladder_of_each_run_or_else_of_the_pipeline(verify, runs):
    shutil.copytree(runs / "bigram", runs / "alone/bigram")
    status, _, error = verify("alone/bigram")
    assert status == 2
    assert "outputs/prepare" in error
    shutil.copytree(runs / "prepare", runs / "outputs/prepare")
    assert verify("alone/bigram", f"bigram/{LATEST}")[0] == 0


def test_a_run_needs_the_weights_that_it_began_from(verify, runs, tmp_path):
    given = tmp_path / "given.safetensors"
    shutil.copy(runs / "transformer" / LATEST, given)
    config = replace(configuration("transformer"), init_from=str(given), watch=str(given))
    write_run(runs / "other", "transformer", Prepared.open(runs / "prepare"), config)
    assert "bit-identical" in verify("other")[1][0]
    atomic_write(given, (runs / "transformer" / BEST).read_bytes())
    change(tmp_path, given.name, seed=9)
    status, _, error = verify("other")
    assert status == 2
    assert f"transformer.init_from={given} has sha256 " in error
    given.unlink()
    assert f"there is no checkpoint {given}" in verify("other")[2]
