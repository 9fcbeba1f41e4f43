"""Help and completion: each command and stage describes itself, and its examples work."""

import itertools
import json
import os
import re
import shlex
import shutil
from contextlib import chdir

from lmladder.cli.main import COMMANDS
from lmladder.models import KINDS
from lmladder.system.locks import locked
from tests.experiments.folders import write_run
from tests.pipeline.conftest import PYTHON

import pytest

LMLADDER = (PYTHON, "-m", "lmladder")
STAGES = ("prepare", "bigram", "mlp", "transformer", "evaluate")


def examples(lmladder, command):
    """What follows `lmladder` in each example of a command's help."""
    shown = lmladder(command, "-h").succeeded().stdout
    found = re.findall(r"^      lmladder (.+)$", shown, re.MULTILINE)
    assert found[0].split()[0] == command
    return found


def test_the_help_of_all_names_each_command_and_that_of_each_fits_80_columns(lmladder, monkeypatch):
    shown = lmladder("--help").succeeded().stdout
    summaries = shown.partition("Commands:")[2]
    assert re.findall(r"^  (\w+)  +\S", summaries, re.MULTILINE) == list(COMMANDS)
    assert "..." not in summaries  # they fit
    done = lmladder()
    assert (done.status, done.stderr[:16]) == (2, "Usage: lmladder ")
    monkeypatch.setenv("COLUMNS", "80")
    for command in COMMANDS:
        shown = lmladder(command, "-h").succeeded().stdout
        assert max(map(len, shown.splitlines())) <= 80
        for part in ("Examples:", "-v, --verbose / -q, --quiet", "Exit status: 0 "):
            assert part in shown


def test_every_setting_of_every_component_is_in_the_reference(lmladder, tmp_path):
    with chdir(tmp_path):
        lmladder("settings").failed_in_one_line(2, "there is no conf/config.yaml in this folder")
    listed = json.loads(lmladder("settings", "--json").succeeded().stdout)
    by_key = {each["key"]: each for each in listed}
    assert len(by_key) == len(listed)
    for kind in KINDS.values():
        for name in kind.Settings.model_fields:
            assert [key for key in by_key if key.endswith(f".{name}")], (kind, name)
    assert by_key["transformer.n_head"] == {
        "key": "transformer.n_head", "value": 2, "allowed": "integer, at least 1",
        "help": "attention heads of a block; divides d_model", "choice": "",
    }  # fmt: skip
    shown = lmladder("settings", "n_head").succeeded().stdout
    assert shown.startswith("  transformer.n_head=2\n      integer, at least 1: attention heads")
    assert by_key["transformer.optimizer.learning_rate"]["value"] == 0.01
    assert by_key["mixtures.NAME.members"]["allowed"] == "list of (text)"
    lmladder("settings", "n_haed").failed_in_one_line(2, "did you mean 'n_head'?")


def test_a_run_composes_the_overrides_and_runs_what_depends_on_them(checkout):
    overrides = ("experiment=smoke", "bigram.add_k=0.5", "--stage", "bigram")
    done = checkout.run(*LMLADDER, "run", *overrides)
    assert done.succeeded().stages_run == ["bigram"]
    assert "add_k: 0.5" in (checkout / "params.yaml").read_text()


def test_a_run_prints_the_table_once_and_narrow(lmladder, monkeypatch):
    monkeypatch.setattr("lmladder.cli.run._call", lambda *_, **__: 0)
    printed = lmladder("run").succeeded().stdout
    assert printed.count("Transformer") == 1
    assert max(map(len, printed.splitlines())) <= 100


def test_a_run_that_fails_has_the_status_of_its_stage(checkout):
    (checkout / ".dvc/tmp/rwlock").write_text("")  # DVC was killed while it wrote this file
    for status, mistake in (
        (1, ["transformer.optimizer=${mlp.optimizer}", "mlp.optimizer.learning_rate=1e30"]),
        (2, ["--stage", "transfromer"]),
    ):
        done = checkout.run(*LMLADDER, "run", "-q", "experiment=smoke", *mistake)
        assert (done.status, done.stdout) == (status, "")
        assert done.stderr.endswith("error: the run stopped for the reason printed above\n")
        assert "continues" not in done.stderr


def test_two_runs_at_once_do_not_mix_their_settings(checkout):
    before = (checkout / "params.yaml").read_bytes()
    with locked(checkout / "outputs"):
        checkout.run(*LMLADDER, "run", "seed=3").failed_in_one_line(1, "outputs", os.getpid())
    assert (checkout / "params.yaml").read_bytes() == before


@pytest.mark.pages
def test_the_examples_of_all_commands_work(lmladder, checkout, monkeypatch):
    monkeypatch.chdir(checkout.path)
    checkout.make_tiny_settings_the_default()
    checkout.commit()  # the results too, for --rev
    shutil.copytree("outputs", "../before/outputs")
    for n_layer, seed in itertools.product((1, 2), (0, 1)):
        name = f"transformer.n_layer={n_layer}/seed={seed}"
        folder = checkout / "outputs/sweeps/transformer" / name
        write_run(folder, 1 / n_layer + seed / 100, seed=seed, transformer__n_layer=n_layer)
    given = {name: examples(lmladder, name) for name in COMMANDS}
    # Import reads what export has written; a run changes what the others read.
    for name in sorted(given, key=["import", "run"].count):
        for example in given[name]:
            one_pair = ["--budget=1s"] if name == "try" else []
            done = lmladder(*shlex.split(example), *one_pair)
            assert done.status == ("--claim" in example), done.stderr  # of the default ladder


def stage_help(checkout, stage, *overrides):
    return checkout.by_hand(stage, "--help", *overrides).succeeded().stdout


def test_a_stage_describes_itself_its_choices_and_each_setting_with_its_meaning(smoke):
    shown = stage_help(smoke, "mlp", "transformer.n_layer=3")
    assert shown.startswith("Stage 3: ")
    assert "    python stages/mlp.py " in shown
    texts = "tales, tales_lexicon, tales_long, tales_million, tales_short, tales_small"
    assert f"\ndata: file, names, shakespeare, {texts}\n" in shown
    assert "  transformer.n_layer=3\n      integer, at least 1: number of blocks\n" in shown


@pytest.mark.pages
@pytest.mark.parametrize("stage", STAGES)
def test_the_examples_of_a_stage_work(checkout, stage):
    checkout.make_tiny_settings_the_default()
    commands = re.findall(r"^    python (stages/.*)$", stage_help(checkout, stage), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        checkout.run(PYTHON, *shlex.split(command)).succeeded()


def test_bash_completes_settings_of_a_stage(smoke):
    line = "python stages/transformer.py transformer.n_"
    script = f"""
eval "$(python stages/transformer.py -sc install=bash)"
COMP_WORDS=({line}) COMP_CWORD=2 COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
hydra_bash_completion python; echo "${{COMPREPLY[@]}}"
"""
    done = smoke.run("bash", "--norc", "-c", script).succeeded()
    assert {*done.stdout.split()} >= {"transformer.n_head=", "transformer.n_layer="}
