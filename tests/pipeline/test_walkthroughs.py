"""The commands of the pages: each runs and prints what its page says, or is marked and valid."""

import re
import tomllib
from contextlib import suppress

from lmladder.cli.main import COMMANDS, app
from lmladder.config import composed, typed
from lmladder.system import runtime
from tests.snippets import SNIPPET
from tests.walkthrough import (
    PROGRAMS,
    PROJECT,
    STEP,
    only_named,
    prepare_environment,
    steps,
    walk,
)

import pytest
from dvc.cli import parse_args
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from typer.main import get_command

GENERATED = ("commands.md", "settings.md")  # from the help, whose examples other tests run
PAGES = {
    path.name: path.read_text(encoding="utf-8")
    for path in [*PROJECT.glob("*.md"), *sorted((PROJECT / "docs").glob("*.md"))]
    if path.name not in (*GENERATED, "CHANGELOG.md")
}
WALKED = [name for name, page in PAGES.items() if "```console" in page and steps(page)]
FROM_A_CLONE = ("tutorial.md", "dvc.md", "comparing.md", "own-rung.md")
LANGUAGES = {"console", "text", "py", "python", "mermaid", ""}
NOT_COMPOSED = ("hydra/", "hydra.launcher", "hydra.sweep", "-")  # some need other software


@pytest.fixture
def trained(checkout):
    """A checkout with tiny settings by default, whose pipeline has run and is committed."""
    checkout.make_tiny_settings_the_default()
    checkout.commit()
    return checkout


@pytest.mark.pages
@pytest.mark.skipif(not runtime.has_avx2(), reason="other vector instructions round differently")
@pytest.mark.parametrize("name", WALKED)
def test_the_commands_of_a_page_print_what_it_says(request, name):
    start = request.getfixturevalue("clone" if name in FROM_A_CLONE else "trained")
    prepare_environment(start.path)
    done = walk(PAGES[name], start.path, start.environment)
    wrong = [f"$ {step.commands}{step.printed}" for step in done if not step.as_documented]
    assert not wrong, "\n".join(wrong)
    assert len(done) == len(steps(PAGES[name]))


@pytest.mark.parametrize("name", PAGES)
def test_no_command_or_output_of_a_page_is_overlooked(name):
    page = PAGES[name]
    found = list(STEP.finditer(page))
    assert page.count("```console") == sum(step["language"] == "console" for step in found)
    marks = re.findall("<!-- (first|not run)", page)
    assert marks == [step["mark"] for step in found if step["mark"]]
    printed = [step["says"] for step in found]
    printed += [step["printed"] for step in SNIPPET.finditer(page) if step["kind"] == "text"]
    assert page.count("```text") == sum(each is not None for each in printed)
    blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} <= LANGUAGES
    command = re.compile(rf"^(\$|{'|'.join(PROGRAMS)}) ", re.MULTILINE)
    assert not [each for kind, each in blocks if kind in ("text", "") and command.search(each)]


def require_composes(overrides):
    """Raise an error if settings are not valid: in a sweep, if any choice of any of them is not."""
    given = [each for each in overrides if "=" in each and not each.startswith(NOT_COMPOSED)]
    choices = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if isinstance(each.value(), ChoiceSweep)
        else [each.input_line]
        for each in OverridesParser.create().parse_overrides(given)
        if isinstance(each.value(), ChoiceSweep) or not each.is_sweep_override()
    ]
    for job in range(max(map(len, choices), default=0)):
        typed(composed(PROJECT / "conf", [values[job % len(values)] for values in choices]))


def require_valid(program, *given):
    """Raise an error if a command has an unknown option, setting, file, target or extra."""
    if program == "lmladder":
        name, *rest = given
        if name == "--install-completion" or rest in ([], ["-h"]):  # it is only mentioned
            assert name in (*COMMANDS, "--install-completion")
            return
        context = get_command(app).commands[name].make_context(name, rest)
        if name == "run":
            config_dir = context.params["config_dir"]
            path = [f"hydra.searchpath=['file://{config_dir.resolve()}']"] if config_dir else []
            require_composes([*path, *(context.params["overrides"] or [])])
    elif program == "dvc":
        with suppress(SystemExit):  # of the help
            parse_args(list(given) if len(given) > 2 else [*given, "-h"])  # then it is mentioned
    elif program == "make":
        targets = re.findall(r"^\.PHONY: (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
        assert {each for each in given if "=" not in each} <= set(" ".join(targets).split())
    elif program == "pip":
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
        assert given[-1].strip(".[]") in project["optional-dependencies"]
    else:
        for name in filter(re.compile(r"(tests|stages|benchmarks)[/.]").match, given):
            path = PROJECT / name
            assert path.exists() or (PROJECT / f"{name.replace('.', '/')}.py").exists()
            if path.suffix == ".py" and name.startswith("stages"):
                require_composes(given)
            elif path.suffix == ".py":
                source = path.read_text()
                assert [each for each in given if each[:2] == "--" and each not in source] == []


@pytest.mark.pages
@pytest.mark.parametrize("name", PAGES)
def test_commands_that_a_page_only_names_are_valid(name, monkeypatch):
    monkeypatch.chdir(PROJECT)
    wrong = []
    for command in only_named(PAGES[name]):
        try:
            require_valid(*command)
        except (Exception, SystemExit) as error:
            wrong.append(f"{command}: {error!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "command",
    [
        "lmladder scoer",
        "lmladder sample --tempreature 1",
        "lmladder run transformer.n_layers=3",
        "lmladder run --config-dir examples +rungs=lsmt",
        "python stages/compose.py experiment=smokey",
        "python stages/mlp.py -m mlp.training.steps=8,none seed=0,1",
        "python benchmarks/profile.py --confg nano",
        "python benchmarks/profiler.py",
        "python -m tests.evaluation.fault",
        "pytest tests/faults/test_bit.py",
        "make tset",
        "dvc metric diff",
        "dvc exp show --drp x",
        "pip install -e '.[swep]'",
    ],
)
def test_a_wrong_command_is_seen_in_a_block_and_in_prose(command, monkeypatch):
    monkeypatch.chdir(PROJECT)
    block = "<!-- not run: wrong -->\n\n```console\n{}\n```\n"
    for page in (block.format(command), block.format(f"$ {command}\nprinted"), f"`{command}`"):
        (found,) = only_named(page)
        with pytest.raises((Exception, SystemExit)):
            require_valid(*found)
