"""Help and completion: each command and stage describes itself, and its examples work."""

import itertools
import os
import re
import shlex
import shutil
import sys

from lmladder.cli.main import COMMANDS
from tests.experiments.folders import write_run

import pytest

STAGES = ("prepare", "bigram", "mlp", "transformer", "evaluate")


def examples(lmladder, command):
    """What follows `lmladder` in each example of a command's help."""
    shown = lmladder(command, "--help").succeeded().stdout
    words = " ".join(shown.split("Options:")[0].split())
    found = re.findall(r"Example: lmladder (.+?)(?= Example:| Arguments:|$)", words)
    assert found
    assert all(each.split()[0] == command for each in found)
    return found


def test_the_help_of_all_names_each_command_and_where_to_begin(lmladder):
    shown = lmladder("--help").succeeded().stdout
    assert re.findall(r"^  (\w+)  +\S", shown.partition("Commands:")[2], re.MULTILINE) == list(
        COMMANDS
    )
    assert "docs/tutorial.md" in shown
    done = lmladder()
    assert done.status == 2
    assert done.stderr.startswith("Usage: lmladder ")
    assert "error" not in done.stderr


@pytest.mark.slow
def test_the_examples_of_all_commands_work(lmladder, checkout, monkeypatch):
    monkeypatch.chdir(checkout.path)
    checkout.commit()  # the results too, for --rev
    shutil.copytree("outputs", "../before/outputs")
    for n_layer, seed in itertools.product((1, 2), (0, 1)):
        name = f"transformer.n_layer={n_layer}/seed={seed}"
        folder = checkout / "outputs/sweeps/transformer" / name
        write_run(folder, 1 / n_layer + seed / 100, seed=seed, transformer__n_layer=n_layer)
    given = {name: examples(lmladder, name) for name in COMMANDS}
    for name in sorted(given, key="import".__eq__):  # the last is of what export has written
        if name == "import":
            (checkout / "mine").rename(checkout / "gpt2")
        for example in given[name]:
            lmladder(*shlex.split(example)).succeeded()


def stage_help(checkout, stage, *overrides):
    return checkout.by_hand(stage, "--help", *overrides).succeeded().stdout


def test_a_stage_describes_itself_its_choices_and_each_setting_with_its_meaning(smoke):
    shown = stage_help(smoke, "mlp", "transformer.n_layer=3", "+rungs.a={kind: counts, add_k: 0.5}")
    assert shown.startswith("Stage 3: ")
    assert "    python stages/mlp.py " in shown
    assert (
        "\ndata: file, names, shakespeare, tales, tales_lexicon, tales_long, tales_short\n" in shown
    )
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
        "lmladder export --format ": {"gpt2", "tiny-lm"},
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
        "python stages/transformer.py mlp=": {"mlp=default", "mlp=gru", "mlp=rnn"},
    }  # fmt: skip
    found = completed(smoke, install, "hydra_bash_completion", expected, tmp_path)
    assert found == list(expected.values())
