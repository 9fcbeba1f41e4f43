"""The floors of the house: no module imports from its own floor or above."""

import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = PROJECT / "src/lmladder"


def settings():
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]


def rooms():
    """The modules and packages right under lmladder."""
    modules = {path.stem for path in SOURCE.glob("*.py") if path.name != "__init__.py"}
    packages = {path.parent.name for path in SOURCE.glob("*/*.py")}
    return {f"lmladder.{name}" for name in modules | packages}


def test_no_package_imports_from_its_own_floor_or_above():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*command, "--config", "pyproject.toml", "--no-cache"],
        cwd=PROJECT,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_one_floor_and_every_floor_its_modules():
    (contract,) = settings()["contracts"]
    on_floors = [room.strip() for floor in contract["layers"] for room in floor.split("|")]
    assert sorted(on_floors) == sorted(rooms())


def test_the_contract_overlooks_nothing():
    (contract,) = settings()["contracts"]
    assert contract.keys() == {"name", "type", "layers"}  # so no ignore_imports
    assert contract["type"] == "layers"
    assert settings()["root_packages"] == ["lmladder"]


def test_every_package_can_be_found_by_the_linter():
    packages = {path.parent for path in SOURCE.rglob("*.py")}
    assert [folder for folder in packages if not (folder / "__init__.py").exists()] == []


def test_there_is_no_module_for_odds_and_ends():
    odd = {"utils", "util", "helpers", "common", "misc"}
    assert [path for path in SOURCE.rglob("*.py") if path.stem in odd] == []
