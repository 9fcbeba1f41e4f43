"""Help and completion: each command and stage tells what it does, and its examples work."""

import os
import re
import shlex
import shutil
import sys

from lmladder.cli import app
from tests.comparison.folders import write_run

import pytest

COMMANDS = [each.name or each.callback.__name__ for each in app.registered_commands]
STAGES = ("prepare", "bigram", "mlp", "transformer", "evaluate")


def examples(lmladder, command):
    """What follows `lmladder` in each example of a command's help."""
    shown = lmladder(command, "--help").succeeded().stdout
    words = " ".join(shown.split("Options:")[0].split())
    return re.findall(r"Example: lmladder (.+?)(?= Example:| Arguments:|$)", words)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_tells_what_it_does_with_examples(lmladder, command):
    assert examples(lmladder, command)
    assert all(each.split()[0] == command for each in examples(lmladder, command))


def test_the_help_of_all_names_each_command_and_where_to_begin(lmladder):
    shown = lmladder("--help").succeeded().stdout
    assert re.findall(r"^  (\w+)  +\S", shown.partition("Commands:")[2], re.MULTILINE) == COMMANDS
    assert "docs/tutorial.md" in shown


def test_without_a_command_the_help_is_shown_and_no_error(lmladder):
    done = lmladder()
    assert done.status == 2
    assert done.stderr.startswith("Usage: lmladder ")
    assert "error" not in done.stderr


def test_the_examples_of_all_commands_work(lmladder, checkout, commit, monkeypatch):
    monkeypatch.chdir(checkout.path)
    commit(checkout)  # the results too, for --rev
    shutil.copytree("outputs", "../before/outputs")
    for n_layer in (1, 2):
        folder = checkout / f"outputs/sweeps/transformer/transformer.n_layer={n_layer}"
        write_run(folder, 1 / n_layer, transformer__n_layer=n_layer)
    given = {name: examples(lmladder, name) for name in COMMANDS if name != "gradcheck"}
    for name in sorted(given, key="import".__eq__):  # the last is of what export has written
        if name == "import":
            (checkout / "mine").rename(checkout / "gpt2")
        for example in given[name]:
            if "--pipeline" in example:
                continue  # a pipeline from nothing, which test_verify.py runs
            lmladder(*shlex.split(example)).succeeded()


@pytest.mark.slow
def test_the_example_of_gradcheck_works(lmladder):
    (example,) = examples(lmladder, "gradcheck")
    lmladder(*shlex.split(example)).succeeded()


def stage_help(checkout, stage):
    return checkout.stage(stage, "--help").succeeded().stdout


@pytest.mark.parametrize("stage", ["prepare", pytest.param("mlp", marks=pytest.mark.slow)])
def test_a_stage_tells_what_it_does_its_choices_and_how_to_complete_them(smoke, stage):
    shown = stage_help(smoke, stage)
    assert shown.startswith(f"Stage {1 + STAGES.index(stage)}: ")
    assert f"    python stages/{stage}.py " in shown
    assert "\ndata: file, names, shakespeare, tales\n" in shown
    assert "\ntransformer:\n  optimizer:\n" in shown or "\n  n_layer: 2\n" in shown
    assert f'eval "$(python stages/{stage}.py -sc install=bash)"' in shown


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_the_examples_of_a_stage_work(checkout, stage):
    conf = checkout / "conf/config.yaml"
    conf.write_text(conf.read_text().replace("experiment: null", "experiment: smoke"))
    commands = re.findall(r"^    python (stages/.*)$", stage_help(checkout, stage), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        checkout.run(sys.executable, *shlex.split(command)).succeeded()


# --- Completion -----------------------------------------------------------------------------------


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
def door(tmp_path):
    """An environment in which the shell finds `lmladder`, and keeps what is installed to itself."""
    script = tmp_path / "bin/lmladder"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'lmladder'\n"
        "from lmladder.cli import main\nmain()\n"
    )
    script.chmod(0o755)
    return {"PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ins"], {"inspect"}),
        (["sample", "--te"], {"--temperature"}),
        (["compare", "--metric", "val"], {"val_nats"}),
        (["export", "--format", ""], {"gpt2", "tiny-lm"}),
        (["gradcheck", "layer"], {"layer_norm"}),
    ],
)
def test_bash_completes_commands_options_and_values(smoke, door, words, offered):
    install = 'eval "$(lmladder --show-completion)"'
    words = ("lmladder", *words)
    assert offered == set(
        completed(smoke, install, "_lmladder_completion", *words, environment=door)
    )


def test_completion_is_installed_for_later_shells(smoke, door, tmp_path):
    typed = "lmladder --install-completion; exit $?"  # which asks what shell has started it
    done = smoke.run("bash", "--norc", "-c", typed, environment=door).succeeded()
    assert "completion installed" in done.stdout
    install = f"source {tmp_path}/.bashrc"
    words = ("lmladder", "gradch")
    found = completed(smoke, install, "_lmladder_completion", *words, environment=door)
    assert found == ["gradcheck"]


def test_bash_completes_settings_and_choices_of_a_stage(smoke):
    install = 'eval "$(python stages/transformer.py -sc install=bash)"'

    def offered(word):
        words = ("python", "stages/transformer.py", word)
        return set(completed(smoke, install, "hydra_bash_completion", *words))

    assert offered("transformer.n_") == {"transformer.n_head=", "transformer.n_layer="}
    assert offered("mlp=") == {"mlp=default", "mlp=gru", "mlp=rnn"}
