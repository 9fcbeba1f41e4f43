"""Each verdict on a run is given for what it is meant for, and for nothing else."""

import json
import re
import shutil
from dataclasses import replace

from lmladder import runtime, training
from lmladder.checkpoint import Checkpoint, weights_digest
from lmladder.history import DIGEST
from lmladder.rung import first_checkpoint
from lmladder.stage import ENVIRONMENT
from lmladder.text import Prepared
from lmladder.training import BEST, LATEST, UNFINISHED, UNFINISHED_BEST
from lmladder.verification import open_run
from tests.verification.conftest import CODE, SEED, configuration, write_run, write_text

import numpy as np
import pytest

NEURAL = ("mlp", "transformer")
STEPS = 6


def other_machine(folder, **facts):
    """The run was made elsewhere, so that other roundings are to be expected."""
    path = folder / ENVIRONMENT
    facts = facts or {"processor": {"name": "another"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def with_line(folder, index, **fields):
    """The history of a run with other contents in one line."""
    history = list(Checkpoint.load(folder / LATEST).history)
    history[index] = history[index] | fields
    return tuple(history)


def nudged(arrays, by=1e-6):
    """The arrays with one weight changed by a small part."""
    name = min(arrays)
    array = arrays[name].copy()
    array.flat[0] += array.dtype.type(by) * np.abs(array).max()
    return {**arrays, name: array}


# --- Identical ------------------------------------------------------------------------------------


def test_runs_come_again_bit_for_bit(verify):
    done = verify("bigram", "mlp", "transformer")
    assert done.status == 0
    assert [line.partition(": ")[2] for line in done.lines] == [
        "bit-identical, all counts",
        f"bit-identical to step {STEPS}, history and weights",
        f"bit-identical to step {STEPS}, history and weights",
    ]


@pytest.mark.parametrize("name", [LATEST, BEST])
def test_a_file_is_verified_up_to_its_own_step(verify, runs, change, name):
    best = Checkpoint.load(runs / "mlp" / BEST)
    done = verify(f"mlp/{name}")
    assert done.status == 0
    assert f"bit-identical to step {best.step}," in done.stdout


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate": 2},
        {"monitor_every": 2, "evaluate_every": 3},
        {"patience": 2, "min_improvement": 9.0},
    ],
    ids=str,
)
def test_whatever_training_was_asked_for_is_done_again(verify, runs, settings):
    prepared = Prepared.open(runs / "prepare")
    write_run(runs / "other", "mlp", prepared, configuration("mlp", **settings))
    steps = Checkpoint.load(runs / "other" / LATEST).step
    assert steps == (4 if "patience" in settings else STEPS)
    assert f"bit-identical to step {steps}," in verify("other").stdout


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(verify, threads):
    assert "bit-identical" in verify("transformer", threads=threads).stdout


def test_a_run_from_before_there_were_digests_is_judged_by_its_numbers(verify, runs, change):
    history = [{**row} for row in Checkpoint.load(runs / "mlp" / LATEST).history]
    for row in history:
        del row[DIGEST]
    change(runs / "mlp", history=tuple(history))
    (runs / "mlp" / BEST).unlink()
    assert "bit-identical" in verify("mlp").stdout


def test_other_code_is_told_and_trains_all_the_same(verify, runs):
    write_run(runs / "other", "mlp", Prepared.open(runs / "prepare"), code="f" * 64)
    done = verify("other")
    assert done.status == 0
    assert "bit-identical" in done.lines[0]
    assert done.lines[1:] == [f"  code: {'f' * 12} there, {CODE[:12]} here"]


def test_another_machine_is_told(verify, runs):
    other_machine(runs / "mlp", python="CPython 3.99", numpy_instructions=["X86_V3", "X86_V9"])
    done = verify("mlp")
    assert "bit-identical" in done.lines[0]
    (python,) = [line for line in done.lines if line.startswith("  python: ")]
    assert python.startswith("  python: CPython 3.99 there, CPython 3.1")
    assert any("only there" in line and "X86_V9" in line for line in done.lines[1:])
    (runs / "mlp" / ENVIRONMENT).unlink()
    assert verify("mlp").lines[1:] == [
        "  environment: unknown, as there is no environment.json beside it"
    ]


def test_a_hostile_environment_cannot_speak_to_the_terminal(verify, runs):
    other_machine(runs / "mlp", **{"\x1b[2J": "\x1b[31m\r", "numpy_instructions": ["\x07"]})
    assert all(line.isprintable() for line in verify("mlp").lines)


def test_the_kernels_are_those_of_the_run(verify, runs):
    other_machine(runs / "mlp", kernels="numpy")
    other = verify("mlp")
    assert "  kernels" not in other.stdout
    assert other.lines[0] != verify("transformer").lines[0]
    assert "bit-identical" not in other.stdout


# --- Equal within tolerance, or parted ------------------------------------------------------------


@pytest.mark.parametrize("kind", NEURAL)
def test_other_roundings_are_within_the_tolerance_if_the_machine_is_another(verify, runs, kind):
    other_machine(runs / kind, kernels="numpy", python="another")  # sums in another order
    done = verify(kind)
    assert done.status == 0
    found = re.search(
        rf": equal within tolerance 0.002 to step {STEPS}: (?:train|val)_nats differs most, by "
        r"(\S+) at step \d; other bits from step (\d) on, weights (\S+) apart at the end$",
        done.lines[0],
    )
    assert int(found[2]) <= 2
    assert 0 < float(found[1]) < 1e-4
    assert 0 < float(found[3]) < 1e-3


@pytest.mark.parametrize("kind", NEURAL)
def test_a_run_of_another_seed_parts_at_once_and_is_not_trained_to_its_end(
    verify, runs, change, kind
):
    change(runs / kind, seed=4)
    change(runs / kind, BEST, seed=4)
    done = verify(kind)
    assert done.status == 1
    assert f"{runs / kind}: parts at step 0: val_nats is " in done.lines[0]
    assert "code and environment are the same" in done.lines[-1]
    assert done.error.endswith(f"not what was recorded: {runs / kind}")
    assert "step 2/6" not in done.stderr


def test_one_weight_that_was_changed_with_its_digest_parts(verify, runs, change):
    weights = nudged(Checkpoint.load(runs / "mlp" / LATEST).model)
    history = with_line(runs / "mlp", -1, **{DIGEST: weights_digest(weights)})
    (runs / "mlp" / BEST).unlink()
    change(runs / "mlp", model=weights, history=history)
    done = verify("mlp")
    assert done.status == 1
    assert ": parts at step 6, the same until step 4: " in done.lines[0]
    other_machine(runs / "mlp")
    told = verify("mlp").lines[0]
    assert ": equal within tolerance 0.002 to step 6: " in told
    assert "; other bits from step 6 on, weights " in told


def test_weights_that_have_not_the_loss_they_claim_part_wherever_they_were_learnt(
    verify, runs, change
):
    weights = {name: -each for name, each in Checkpoint.load(runs / "mlp" / LATEST).model.items()}
    history = with_line(runs / "mlp", -1, **{DIGEST: weights_digest(weights)})
    (runs / "mlp" / BEST).unlink()
    change(runs / "mlp", model=weights, history=history)
    other_machine(runs / "mlp")
    done = verify("mlp")
    assert done.status == 1
    assert ": parts at step 6, the same until step 4: val_nats is " in done.lines[0]


def test_one_number_of_the_optimizer_parts(verify, runs, change):
    state = nudged(Checkpoint.load(runs / "transformer" / LATEST).optimizer)
    change(runs / "transformer", optimizer=state)
    done = verify("transformer")
    assert done.status == 1
    assert ": parts at step 6, the same until step 4: optimizer." in done.lines[0]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_one_digest_that_was_changed_parts_wherever_it_ran(verify, runs, change, elsewhere):
    if elsewhere:
        other_machine(runs / "mlp")
    (runs / "mlp" / BEST).unlink()
    change(runs / "mlp", history=with_line(runs / "mlp", 1, **{DIGEST: "0" * 16}))
    done = verify("mlp")
    assert done.status == 1
    assert ": parts at step 2, the same until step 0: weights_digest is " in done.lines[0]
    assert "was 0000000000000000" in done.lines[0]


def test_one_number_of_the_history_that_was_changed_parts(verify, runs, change):
    (runs / "mlp" / BEST).unlink()
    change(runs / "mlp", history=with_line(runs / "mlp", 2, train_nats=1.0))
    other_machine(runs / "mlp")
    done = verify("mlp")
    assert done.status == 1
    assert ": parts at step 4, the same until step 2: train_nats is 1." in done.lines[0]
    assert done.lines[0].endswith("was 1.0")


def test_one_step_that_is_taken_otherwise_parts_at_the_next_line(verify, monkeypatch):
    honest = training.clip_scale
    calls = iter(range(STEPS))
    monkeypatch.setattr(
        training,
        "clip_scale",
        lambda *given: honest(*given) * (0.5 if next(calls) == 2 else 1),
    )
    done = verify("mlp")
    assert done.status == 1
    assert ": parts at step 4, the same until step 2: " in done.lines[0]


def test_a_repetition_that_ends_early_parts(verify, runs, change):
    config = Checkpoint.load(runs / "mlp" / LATEST).config
    patient = config | {"training": config["training"] | {"patience": 1, "min_improvement": 9.0}}
    for name in (LATEST, BEST):
        change(runs / "mlp", name, config=patient)
    done = verify("mlp")
    assert done.status == 1
    assert done.lines[0].endswith(": parts at step 2, the same until step 2: step is 2, was 6")


def test_a_repetition_that_diverges_is_told_without_naming_what_is_gone(verify, runs, change):
    config = Checkpoint.load(runs / "mlp" / LATEST).config
    wild = config | {"optimizer": config["optimizer"] | {"learning_rate": 1e30}}
    for name in (LATEST, BEST):
        change(runs / "mlp", name, config=wild)
    other_machine(runs / "mlp")
    done = verify("mlp", tolerance=1)
    assert done.status == 1
    assert re.search(r"mlp cannot be trained again: mlp: \w*\s?loss .* at step \d$", done.error)


def test_no_difference_is_granted_to_a_tolerance_of_zero(verify, runs):
    other_machine(runs / "mlp", kernels="numpy", python="another")
    assert verify("mlp", tolerance=0).status == 1


def test_counts_that_were_changed_part(verify, runs, change):
    counts = {**Checkpoint.load(runs / "bigram" / LATEST).model}
    counts["counts_1"] = counts["counts_1"][::-1].copy()
    change(runs / "bigram", model=counts)
    other_machine(runs / "bigram")
    done = verify("bigram", "mlp")
    assert done.status == 1
    assert ": parts from its text: model.counts_1 is " in done.lines[0]
    assert "bit-identical" in done.stdout  # the other run is verified all the same
    assert done.error == f"error: not what was recorded: {runs / 'bigram'}"


def test_programs_get_all_of_it(verify, runs, change):
    (runs / "mlp" / BEST).unlink()
    change(runs / "mlp", history=with_line(runs / "mlp", 1, **{DIGEST: "0" * 16}))
    done = verify("bigram", "mlp", json=True)
    assert done.status == 1
    counts, mlp = json.loads(done.stdout)
    assert (counts["outcome"], counts["difference"]) == ("bit-identical", None)
    assert (mlp["outcome"], mlp["same_until"], mlp["parts_at"]) == ("parts", 0, 2)
    difference = mlp["difference"]
    assert (difference["name"], difference["step"]) == ("weights_digest", 2)
    assert difference["relative"] is None
    assert mlp["code"].keys() == {"there", "here"}
    assert mlp["environment"] == {}


@pytest.mark.skipif(not runtime.has_avx2(), reason="the pinned environment is of AVX2")
def test_the_repetition_leaves_nothing_behind(verify, runs, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    verify("mlp", "transformer")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


# --- Refused --------------------------------------------------------------------------------------


def test_a_flipped_bit_is_told_as_damage(verify, runs):
    path = runs / "mlp" / LATEST
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    done = verify("transformer", "mlp")
    assert (done.status, done.stdout) == (2, "")
    assert f"{path} is damaged: it has sha256 " in done.error


def test_weights_that_are_not_those_of_the_history_are_told_as_damage(verify, runs, change):
    change(runs / "mlp", model=nudged(Checkpoint.load(runs / "mlp" / LATEST).model))
    done = verify("mlp")
    assert done.status == 2
    assert f"{runs / 'mlp'} is damaged: its weights have digest " in done.error


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"step": 5}, "it is of step 5, but its history ends at step 6"),
        ({"history": ({"weights": 1},)}, "its history is no history"),
        ({"history": (7,)}, "its history is no history"),
        ({"history": ({"step": "6", "val_nats": 1.0},)}, "its history is no history"),
        ({"history": ({"step": 6, "val_nats": None},)}, "its history is no history"),
        ({"seed": -1}, "its seed is -1"),
        ({"seed": "x"}, "its seed is 'x'"),
        ({"vocabulary_size": 5}, "does not fit its own configuration"),
        ({"tokenizer": {"name": "byte"}}, "its tokenizer is not that of its text"),
        ({"model": {}}, "does not fit its own configuration"),
        ({"history": ()}, "tells of no training"),
        ({"pending": ({"train_nats": 1.0},)}, "was interrupted at step 6"),
        ({"kind": "oracle"}, "unknown kind 'oracle'"),
        ({"config": {"context_length": 3}}, "missing mandatory value"),
    ],
    ids=str,
)
def test_what_no_finished_run_has_is_refused(verify, runs, change, fields, told):
    (runs / "mlp" / BEST).unlink()
    change(runs / "mlp", **fields)
    done = verify("mlp")
    assert done.status == 2
    assert told in done.error


def test_settings_that_make_no_sense_are_refused(verify, runs, change):
    config = Checkpoint.load(runs / "mlp" / LATEST).config
    for name in (LATEST, BEST):
        uneven = {**config["training"], "accumulate": 3}
        change(runs / "mlp", name, config=config | {"training": uneven})
    assert "mlp.training.accumulate=3 does not divide" in verify("mlp").error


@pytest.mark.parametrize("name", [UNFINISHED, UNFINISHED_BEST])
def test_a_run_that_has_not_finished_is_refused(verify, runs, name):
    shutil.copy(runs / "mlp" / LATEST, runs / "mlp" / name)
    for path in ("mlp", f"mlp/{name}"):
        done = verify(path)
        assert done.status == 2
        assert f"{runs / path} is of a run that has not finished" in done.error


def test_checkpoints_of_two_runs_in_a_folder_are_refused(verify, runs, change):
    change(runs / "mlp", BEST, seed=9)
    assert "are of two runs" in verify("mlp").error
    change(runs / "mlp", BEST, seed=SEED, history=with_line(runs / "mlp", 1, val_nats=0.0))
    assert "tell two histories" in verify("mlp").error


@pytest.mark.parametrize("name", ["prepare", ".", "nowhere", "mlp/history.csv"])
def test_what_holds_no_run_is_refused(verify, name):
    done = verify(name)
    assert (done.status, done.stdout) == (2, "")


def test_another_text_is_refused_with_the_remedy(command, runs, tmp_path):
    other = write_text(tmp_path / "other", "a bad head had a bad bed " * 30)
    done = command(runs / "mlp", "--prepared", tmp_path / "other")
    assert done.status == 2
    for named in ("mlp", other.digest[:12], tmp_path / "other", "--prepared", "dvc repro prepare"):
        assert str(named) in done.error


def test_the_text_is_that_of_the_ladder_of_each_run_or_else_of_the_pipeline(
    command, runs, tmp_path, monkeypatch
):
    shutil.copytree(runs / "bigram", tmp_path / "alone/bigram")
    monkeypatch.chdir(tmp_path)
    done = command("alone/bigram")
    assert done.status == 2
    assert "outputs/prepare" in done.error
    shutil.copytree(runs / "prepare", tmp_path / "outputs/prepare")
    assert command("alone/bigram", runs / "bigram/checkpoint.safetensors").status == 0


def test_a_run_needs_the_weights_that_it_began_from(verify, runs, tmp_path):
    prepared = Prepared.open(runs / "prepare")
    given = tmp_path / "given.safetensors"
    shutil.copy(runs / "transformer" / LATEST, given)
    config = replace(configuration("transformer"), init_from=str(given), watch=str(given))
    write_run(runs / "other", "transformer", prepared, config)
    assert "bit-identical" in verify("other").stdout
    changed = Checkpoint.load(given)
    replace(changed, model=nudged(changed.model)).save(given)
    done = verify("other")
    assert done.status == 2
    assert f"{runs / 'other'} began from weights with sha256 " in done.error
    given.unlink()
    assert f"there is no checkpoint {given}" in verify("other").error


def test_a_run_or_the_pipeline_must_be_named_but_not_both(command, runs):
    assert command().status == 2
    assert command(runs / "mlp", "--pipeline").status == 2


def test_the_origin_of_a_run_is_its_first_checkpoint(runs):
    recorded = open_run(runs / "mlp").origin
    prepared = Prepared.open(runs / "prepare")
    origin = first_checkpoint("mlp", configuration("mlp"), SEED, prepared)
    assert recorded.fingerprint == replace(origin, code_digest=recorded.code_digest).fingerprint
