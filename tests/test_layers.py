"""The layers: no package imports from a layer above its own."""

import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def test_no_package_imports_from_a_layer_above_its_own() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*command, "--config", "pyproject.toml", "--no-cache"],
        cwd=PROJECT,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_in_the_list_of_layers() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = settings["contracts"]
    listed = [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    packages = {path.parent.name for path in PROJECT.glob("src/lmladder/*/*.py")}
    assert sorted(listed) == sorted(f"lmladder.{name}" for name in packages)
