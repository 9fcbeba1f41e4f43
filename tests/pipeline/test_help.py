"""Help and completion: each command and stage describes itself, and its examples work."""

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
    for n_layer in (1, 2):
        folder = checkout / f"outputs/sweeps/transformer/transformer.n_layer={n_layer}"
        write_run(folder, 1 / n_layer, transformer__n_layer=n_layer)
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
    assert "\ndata: file, names, shakespeare, tales\n" in shown
    for setting in (
        "seed=0\n      integer, at least 0: ",
        "runtime.threads=null\n      integer or null, at least 1, at most 1,024: ",
        "runtime.kernels=numba\n      one of numba, numpy: ",
        "transformer.n_layer=3\n      integer, at least 1: number of blocks\n",
        "transformer.dropout=0.0\n      number, at least 0, less than 1: ",
        "transformer.tied=true\n      true or false: ",
        "mlp.optimizer.name=adamw\n      one of sgd, adam, adamw, muon: ",
        "mlp.optimizer.betas=[0.9, 0.99]\n      list of numbers, at least 0, less than 1, 2 values",
        "mlp.hidden_sizes=[256]\n      list of integers, at least 1: ",
        "mlp.init_from=null\n      text or null: ",
        "sample.prompt=${data.prompt}\n      text or null: ",
        "rungs.a.add_k=0.5\n      number, more than 0: ",
    ):
        assert f"  {setting}" in shown
    assert 'eval "$(python stages/mlp.py -sc install=bash)"' in shown


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_the_examples_of_a_stage_work(checkout, stage):
    checkout.make_tiny_settings_the_default()
    commands = re.findall(r"^    python (stages/.*)$", stage_help(checkout, stage), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        checkout.run(sys.executable, *shlex.split(command)).succeeded()


def completed(checkout, install, function, *words, environment=None):
    """What bash offers for the last of these words, once `install` has been evaluated."""
    line = " ".join(words)
    script = (
        f"{install}\nCOMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}\n"
        f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}\n"
        f'{function} {words[0]}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = checkout.run("bash", "--norc", "-c", script, environment=environment).succeeded()
    return done.stdout.split()


@pytest.fixture
def with_command(tmp_path):
    """An environment in which the shell finds `lmladder`, and keeps what is installed to itself."""
    script = tmp_path / "bin/lmladder"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'lmladder'\n"
        "from lmladder.cli.main import main\nmain()\n"
    )
    script.chmod(0o755)
    return {"PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ins"], {"inspect"}),
        (["sample", "--te"], {"--temperature"}),
        (["compare", "--metric", "val"], {"val_loss"}),
        (["export", "--format", ""], {"gpt2", "tiny-lm"}),
        (["gradcheck", "layer"], {"layer_norm"}),
    ],
)
def test_bash_completes_commands_options_and_values(smoke, with_command, words, offered):
    install = 'eval "$(lmladder --show-completion)"'
    words = ("lmladder", *words)
    found = completed(smoke, install, "_lmladder_completion", *words, environment=with_command)
    assert set(found) == offered


def test_completion_is_installed_for_later_shells(smoke, with_command, tmp_path):
    typed = "lmladder --install-completion; exit $?"  # which asks what shell has started it
    done = smoke.run("bash", "--norc", "-c", typed, environment=with_command).succeeded()
    assert "completion installed" in done.stdout
    install = f"source {tmp_path}/.bashrc"
    words = ("lmladder", "gradch")
    found = completed(smoke, install, "_lmladder_completion", *words, environment=with_command)
    assert found == ["gradcheck"]


def test_bash_completes_settings_and_choices_of_a_stage(smoke):
    install = 'eval "$(python stages/transformer.py -sc install=bash)"'
    for word, offered in (
        ("transformer.n_", {"transformer.n_head=", "transformer.n_layer="}),
        ("mlp=", {"mlp=default", "mlp=gru", "mlp=rnn"}),
    ):
        words = ("python", "stages/transformer.py", word)
        assert set(completed(smoke, install, "hydra_bash_completion", *words)) == offered
