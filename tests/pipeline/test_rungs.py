"""Rungs of one's own: a Python file and a YAML file give all that the built-in rungs have."""

import os
import re
import shutil

from lmladder.config.composing import composed, describe, validated
from lmladder.system.errors import InputError

import pytest

KINDS = ("lstm", "rnn", "min_gru", "witten_bell")
TRAINED = KINDS[:3]
CHOSEN = ("--config-dir", "examples", f"+rungs=[{','.join(KINDS)}]")
TWIN = "+rungs.twin=${with_seed:transformer,0}"
TINY = {"hidden_size": 8, "d_model": 8, "context_length": 16, "warmup_steps": 2, "steps": 8,
        "evaluate_every": 4, "sequence_length": 16}  # fmt: skip


@pytest.fixture
def tiny(checkout):
    """A checkout with tiny settings in the examples; on the command line they name long folders."""
    checkout.make_tiny_settings_the_default()
    for name in TRAINED:
        path = checkout / f"examples/rungs/{name}.yaml"
        text = path.read_text()
        for key, value in TINY.items():
            text = re.sub(rf"\b{key}: .*", f"{key}: {value}", text)
        path.write_text(text)
    return checkout


def modules(*names):
    """The options that load the files of kinds."""
    files = [{"rnn": "recurrent"}.get(name, name) for name in names]
    return [part for name in files for part in ("--module", f"examples/rungs/{name}.py")]


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.slow
def test_rungs_of_ones_own_are_in_every_result_until_they_are_removed(tiny):
    checkout = tiny
    more = (TWIN, "+rungs.second=${with_seed:rungs.lstm,1}")
    checkout.run("python", "stages/compose.py", *CHOSEN, *more).succeeded()
    rungs = [*KINDS, "second", "twin"]
    ran = checkout.dvc("repro").succeeded().stages_run
    assert sorted(ran) == sorted(["evaluate", *(f"rung@{name}" for name in rungs)])

    scores = {(row["model"], row["split"]): row for row in checkout.table()}
    perplexities = {name: scores[name, "val"]["perplexity"] for name in [*rungs, "transformer"]}
    assert perplexities["twin"] == perplexities["transformer"]
    assert len(set(perplexities.values())) == len(rungs)  # the second LSTM has another seed
    assert [scores[name, "test"]["steps"] for name in KINDS] == ["8", "8", "8", ""]
    labels = [scores[name, "val"]["label"] for name in rungs]
    assert labels == ["LSTM", "RNN", "MinGRU", "Witten-Bell", "Second", "Twin"]
    samples = (checkout / "outputs/evaluate/samples.txt").read_text()
    assert all(f"== {name} ==" in samples for name in rungs)
    assert "LSTM" in (checkout / "outputs/evaluate/report.html").read_text()

    before = checkout.outputs()
    for name in KINDS:
        path = f"outputs/rungs/{name}/checkpoint.safetensors"
        checkout.lmladder("sample", path, *modules(name)).succeeded()
        assert name in checkout.lmladder("inspect", path, *modules(name)).succeeded().stdout
    folders = [f"outputs/rungs/{name}" for name in KINDS]
    checkout.lmladder("verify", *folders, *modules(*KINDS)).succeeded()
    assert checkout.outputs() == before

    # A change of the file reruns its rung and `evaluate`, even if the checkpoint stays the same.
    with (checkout / "examples/rungs/lstm.py").open("a") as file:
        file.write("# a comment\n")
    assert checkout.dvc("repro").succeeded().stages_run == ["rung@lstm", "rung@second"]
    assert checkout.outputs() == before
    replace(checkout / "examples/rungs/witten_bell.py", "weights=counts", "weights=counts * 2")
    assert checkout.dvc("repro").succeeded().stages_run == ["rung@witten_bell", "evaluate"]
    assert checkout.table() != list(scores.values())

    checkout.compose()
    checkout.stage("evaluate").succeeded()
    assert not {row["model"] for row in checkout.table()} & set(rungs)


@pytest.mark.slow
def test_a_rung_of_ones_own_is_swept_alone_and_in_a_ladder(tiny):
    checkout = tiny
    sweep = ("-m", *CHOSEN, "rung=lstm", "rungs.lstm.hidden_size=4,6")
    for change, finished in (("forget + 1", 0), ("forget + 1", 2), ("forget + 2", 0)):
        replace(checkout / "examples/rungs/lstm.py", "forget + 1", change)
        done = checkout.by_hand("rung", *sweep).succeeded()
        assert done.stdout.count("already finished: ") == finished
    checkout.by_hand("ladder", "-m", *CHOSEN).succeeded()
    (table,) = (checkout / "outputs/sweeps/ladder").rglob("perplexity.csv")
    assert len([row for row in checkout.table(table) if row["model"] in KINDS]) == 2 * len(KINDS)


def test_a_configuration_loads_the_files_of_its_kinds(smoke, monkeypatch, tmp_path):
    unwatched = "rungs.lstm.watch=null", f"hydra.run.dir={tmp_path}"
    smoke.by_hand("rung", *CHOSEN, *unwatched).failed_in_one_line(2, "unknown 'lstm'")
    monkeypatch.chdir(smoke.path)
    chosen = "hydra.searchpath=['file://examples']", CHOSEN[-1]
    node = composed(smoke / "conf", [*chosen, "rungs.lstm.hidden_size=5"])
    described = "rungs.lstm.hidden_size=5\n      integer, at least 1: elements of the state"
    assert described in describe(node)
    for override, named in {
        "rungs.lstm.watch=mine.py": f"there is no file {smoke.path}/mine.py",
        "rungs.lstm.hidden_size=0": "rungs.lstm.hidden_size must be at least 1",
        "+rungs.lstm.hiden_size=5": "unknown setting rungs.lstm.hiden_size",
    }.items():
        with pytest.raises(InputError, match=re.escape(named)):
            validated(composed(smoke / "conf", [*chosen, override]))


def test_an_installed_package_has_kinds_and_their_settings(smoke, tmp_path):
    package, facts = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    (package / "conf/rungs").mkdir(parents=True)
    facts.mkdir()
    (facts / "METADATA").write_text("Name: my_package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[lmladder.rungs]\nlstm = my_package.rung\n")
    shutil.copy(smoke / "examples/rungs/lstm.py", package / "rung.py")
    settings = (smoke / "examples/rungs/lstm.yaml").read_text()
    settings = re.sub("watch: .*", "watch: stages/rung.py", settings)
    (package / "conf/rungs/theirs.yaml").write_text(settings.replace("rungs.lstm", "rungs.theirs"))
    for name in ("__init__.py", "conf/__init__.py"):
        (package / name).touch()
    options = ("--help", "hydra.searchpath=[pkg://my_package.conf]", "+rungs=theirs")
    found = {"PYTHONPATH": f"src{os.pathsep}{tmp_path}"}
    shown = smoke.by_hand("rung", *options, environment=found).succeeded().stdout
    assert "rungs.theirs.hidden_size=192\n      integer" in shown


def test_a_rung_that_is_not_there_is_named(checkout):
    for rung, named in (("null", "rung is missing"), ("b", "run `dvc repro rung@b` if")):
        checkout.compose(TWIN, f"rung={rung}")
        checkout.stage("rung").failed_in_one_line(2, named)
    checkout.stage("evaluate").failed_in_one_line(2, "rungs/twin", "run `dvc repro rung@twin`")
