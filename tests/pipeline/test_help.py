"""Help and completion: each command and stage describes itself, and its examples work."""

import itertools
import json
import os
import re
import shlex
import shutil
import sys
from contextlib import chdir
from dataclasses import fields

from lmladder.cli.main import COMMANDS
from lmladder.config.hydra import FAMILIES
from lmladder.models.registry import KINDS
from tests.experiments.folders import write_run

import pytest

STAGES = ("prepare", "bigram", "mlp", "transformer", "evaluate")


def examples(lmladder, command):
    """What follows `lmladder` in each example of a command's help."""
    shown = lmladder(command, "-h").succeeded().stdout
    found = re.findall(r"^      lmladder (.+)$", shown, re.MULTILINE)
    assert found[0].split()[0] == command
    return found


def test_the_help_of_all_names_each_command_and_where_to_begin(lmladder):
    shown = lmladder("--help").succeeded().stdout
    summaries = shown.partition("Commands:")[2]
    assert re.findall(r"^  (\w+)  +\S", summaries, re.MULTILINE) == list(COMMANDS)
    assert "..." not in summaries  # they fit
    assert "docs/tutorial.md" in shown
    done = lmladder()
    assert done.status == 2
    assert done.stderr.startswith("Usage: lmladder ")
    assert "error" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_80_columns_and_has_what_all_share(
    lmladder, command, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    shown = lmladder(command, "-h").succeeded().stdout
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("Examples:", "-v, --verbose / -q, --quiet", "-h, --help", "Exit status: 0 "):
        assert part in shown


def test_every_setting_of_every_component_is_in_the_reference(lmladder, tmp_path):
    with chdir(tmp_path):
        lmladder("settings").failed_in_one_line(2, "there is no conf/config.yaml in this folder")
    listed = json.loads(lmladder("settings", "--json").succeeded().stdout)
    names = {each["key"].rpartition(".")[2] for each in listed}
    for family in FAMILIES.values():
        for kind in family:
            if kind != "oracle":  # which has nothing to set
                assert {each.name for each in fields(family.settings(kind))} <= names, kind
    own = [each["choice"] for each in listed if each["key"].startswith("rungs.NAME.")]
    assert list(dict.fromkeys(own)) == [f"kind: {kind}" for kind in KINDS if f"kind: {kind}" in own]
    by_key = {each["key"]: each for each in listed}
    assert by_key["transformer.n_head"] == {
        "key": "transformer.n_head", "default": 4, "type": "integer", "range": "at least 1",
        "choices": [], "help": "attention heads of a block; divides d_model", "choice": "",
    }  # fmt: skip
    assert by_key["mlp.optimizer.momentum"]["choice"] == "optimizer@mlp.optimizer=muon"
    page = lmladder("settings", "--format", "markdown").succeeded().stdout
    assert set(re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE)) == by_key.keys()
    assert len(re.findall("^## data$", page, re.MULTILINE)) == 1
    shown = lmladder("settings", "n_head").succeeded().stdout
    assert shown.startswith("  transformer.n_head=4\n      integer, at least 1: attention heads")
    lmladder("settings", "n_haed").failed_in_one_line(2, "did you mean 'n_head'?")


def test_a_run_composes_the_overrides_and_runs_what_depends_on_them(lmladder, checkout, tmp_path):
    done = checkout.lmladder("run", "experiment=smoke", "bigram.add_k=0.5", "--stage", "bigram")
    assert done.succeeded().stages_run == ["bigram"]
    assert "add_k: 0.5" in (checkout / "params.yaml").read_text()
    checkout.lmladder("run", "n_layer=3").failed_in_one_line(2, "did you mean transformer.n_layer?")
    (checkout / ".dvc/tmp/rwlock").write_text("")  # DVC was killed while it wrote this file
    for status, mistake in (
        (2, ["transformer.context_length=9000"]),
        (1, ["transformer.optimizer=${mlp.optimizer}", "mlp.optimizer.learning_rate=1e30"]),
        (2, ["--stage", "transfromer"]),
    ):
        done = checkout.lmladder("run", "-q", "experiment=smoke", *mistake)
        assert (done.status, done.stdout) == (status, "")
        assert done.stderr.endswith("error: the run stopped for the reason printed above\n")
        assert "continues" not in done.stderr
    with chdir(tmp_path):
        lmladder("run").failed_in_one_line(2, "no dvc.yaml", "clone")


@pytest.mark.slow
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
            lmladder(*shlex.split(example)).succeeded()


def stage_help(checkout, stage, *overrides):
    return checkout.by_hand(stage, "--help", *overrides).succeeded().stdout


def test_a_stage_describes_itself_its_choices_and_each_setting_with_its_meaning(smoke):
    shown = stage_help(smoke, "mlp", "transformer.n_layer=3", "+rungs.a={kind: counts, add_k: 0.5}")
    assert shown.startswith("Stage 3: ")
    assert "    python stages/mlp.py " in shown
    texts = "tales, tales_lexicon, tales_long, tales_short, tales_small"
    assert f"\ndata: file, names, shakespeare, {texts}\n" in shown
    for setting in (
        "seed=0\n      integer, at least 0: ",
        "transformer.n_layer=3\n      integer, at least 1: number of blocks\n",
        "transformer.tied=false\n      true or false: ",
        "mlp.optimizer.name=adamw\n      one of sgd, adam, adamw, muon: ",
        "mlp.optimizer.betas=[0.9, 0.99]\n      list of numbers, at least 0, less than 1, 2 values",
        "mlp.init_from=null\n      text or null: ",
        "rungs.a.add_k=0.5\n      number, more than 0: ",
    ):
        assert f"  {setting}" in shown
    assert 'eval "$(python stages/mlp.py -sc install=bash)"' in shown


@pytest.mark.pages
@pytest.mark.parametrize("stage", STAGES)
def test_the_examples_of_a_stage_work(checkout, stage):
    checkout.make_tiny_settings_the_default()
    commands = re.findall(r"^    python (stages/.*)$", stage_help(checkout, stage), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        checkout.run(sys.executable, *shlex.split(command)).succeeded()


def completed(checkout, install, function, lines, home):
    """What bash offers for the last word of each line, once `install` has been evaluated."""
    script = [install]
    for line in lines:
        words = line.split(" ")
        script += [
            f"COMP_WORDS=({' '.join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}",
            f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}",
            f'{function} {words[0]}; echo "${{COMPREPLY[@]}}"',
        ]
    path = f"{home}{os.pathsep}{os.environ['PATH']}"
    environment = {"HOME": str(home), "PATH": path}
    done = checkout.run("bash", "--norc", "-c", "\n".join(script), environment=environment)
    offered = done.succeeded().stdout.splitlines()[-len(lines) :]
    return [set(each.split()) for each in offered]


def test_bash_completes_commands_options_and_values_once_that_is_installed(smoke, tmp_path):
    script = tmp_path / "lmladder"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'lmladder'\n"
        "from lmladder.cli.main import main\nmain()\n"
    )
    script.chmod(0o755)
    expected = {
        "lmladder ins": {"inspect"},
        "lmladder sample --te": {"--temperature"},
        "lmladder compare --metric val": {"val_loss"},
        "lmladder plot --format ": {"svg", "png"},
        "lmladder gradcheck layer": {"layer_norm"},
    }
    install = "lmladder --install-completion && source ~/.bashrc"
    found = completed(smoke, install, "_lmladder_completion", expected, tmp_path)
    assert found == list(expected.values())


def test_bash_completes_settings_and_choices_of_a_stage(smoke, tmp_path):
    install = 'eval "$(python stages/transformer.py -sc install=bash)"'
    expected = {
        "python stages/transformer.py transformer.n_": {
            "transformer.n_head=", "transformer.n_layer=",
        },
        "python stages/transformer.py bigram=": {"bigram=default"},
    }  # fmt: skip
    found = completed(smoke, install, "hydra_bash_completion", expected, tmp_path)
    assert found == list(expected.values())
