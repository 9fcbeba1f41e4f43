"""The core: models, training and scoring in Python, without the packages of the extras."""

import json
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLI = ("typer", "rich")
PIPELINE = ("dvc", "hydra", "omegaconf", "pandas", "matplotlib", "jinja2", "pooch", "tokenizers")


def without(packages: tuple[str, ...], program: str, *arguments: str) -> tuple[int, str, str]:
    """Run Python as if packages were not installed; return its status, output and errors."""
    block = f"import sys; sys.modules.update(dict.fromkeys({(*packages, 'numba', 'llvmlite')}))\n"
    command = [sys.executable, "-c", block + program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_the_page_about_the_core_runs_without_the_extras() -> None:
    program = (
        "from lmladder import evaluation, kernels, sampling; from tests.snippets import updated\n"
        "page = open('docs/autograd.md', encoding='utf-8').read()\n"
        "assert updated(page) == page; print(kernels.selected())\n"
        "try: import lmladder.reports\nexcept ImportError as error: print(error)"
    )
    status, printed, errors = without((*CLI, *PIPELINE), program)
    assert (status, errors, printed.startswith("numpy\nlmladder.reports needs ")) == (0, "", True)


@pytest.mark.parametrize(
    ("missing", "command", "packages", "extra"),
    [
        ((*CLI, *PIPELINE), "compare outputs", "(typer)", "lmladder[pipeline]"),
        ((*CLI, *PIPELINE), "score", "(typer)", "lmladder[cli]"),
        (PIPELINE, "compare outputs", "(pandas, matplotlib, jinja2)", "lmladder[pipeline]"),
        (PIPELINE, "play", "(pandas, matplotlib, jinja2)", "lmladder[pipeline]"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(
    missing: tuple[str, ...], command: str, packages: str, extra: str
) -> None:
    program = "from lmladder.__main__ import main; main()"
    status, _, errors = without(missing, program, *command.split())
    end = f" needs packages that are not installed {packages}: pip install '{extra}'\n"
    assert (status, errors.count("\n"), errors.endswith(end)) == (2, 1, True), errors


@pytest.mark.parametrize("script", ["stages/mlp.py", "stages/compose.py"])
def test_a_script_names_the_extra_that_it_needs(script: str) -> None:
    program = "import runpy; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    end = "packages that are not installed (hydra, omegaconf): pip install 'lmladder[pipeline]'\n"
    assert without(PIPELINE, program, script) == (2, "", f"error: {script} needs {end}")


@pytest.mark.pages
def test_the_core_is_at_most_twelve_packages_and_200_megabytes(tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=True)
    pip = [tmp_path / "bin/python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.check_call([*pip, "install", "--quiet", "-c", "constraints.txt", "."], cwd=ROOT)
    listed = json.loads(subprocess.check_output([*pip, "list", "--format=json"]))
    assert len({each["name"] for each in listed} - {"pip", "setuptools"}) <= 12
    assert sum(each.lstat().st_size for each in tmp_path.rglob("*")) < 200e6


def test_constraints_are_versions_of_the_lock() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    locked = {f"{each['name']}=={each['version']}" for each in lock["package"]}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert {each.partition(" ;")[0] for each in lines if not each.startswith("#")} <= locked
