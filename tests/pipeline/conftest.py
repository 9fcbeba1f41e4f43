"""A checkout of this project in a temporary folder, run with tiny settings.

Tests use `smoke`, whose pipeline has run and which none of them may change, or `checkout`, a copy
of their own. Nothing runs in the real work tree, and git and DVC see no settings of the user's.
"""

import csv
import fcntl
import importlib
import io
import os
import shutil
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from lmladder import kernels
from lmladder.cli.main import main
from lmladder.config.composing import validated
from lmladder.models import KINDS
from lmladder.pipeline.running import run
from lmladder.system.errors import LadderError
from stages import compose
from tests.conftest import Done

import pytest
from omegaconf import OmegaConf

PROJECT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.executable)  # not resolved: a link in the bin folder of a virtual environment
SECONDS = 900  # the whole pipeline at full size takes a quarter of it on two cores


@dataclass(frozen=True)
class Checkout:
    """A work tree, and the commands one types in it."""

    path: Path

    def __truediv__(self, name):
        return self.path / name

    @property
    def environment(self):
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "DVC_", "HYDRA_", "LMLADDER_", "PYTEST_"))
        }
        settings = self.path.parent / "settings"
        return kept | {
            "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "src",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "DVC_GLOBAL_CONFIG_DIR": str(settings),
            "DVC_SYSTEM_CONFIG_DIR": str(settings),
            "DVC_SITE_CACHE_DIR": str(settings / "site"),
            "DVC_NO_ANALYTICS": "1",
        }

    def start(self, *command, environment=None):
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.path,
            env=self.environment | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, *command, environment=None):
        with self.start(*command, environment=environment) as process:
            stdout, stderr = process.communicate(timeout=SECONDS)
        return Done(process.returncode, stdout, stderr)

    def here(self, program, *arguments):
        """Run a program in this process and this folder, as a new process takes seconds."""
        stdout, stderr, status = io.StringIO(), io.StringIO(), 0
        with (
            chdir(self.path),
            patch.object(sys, "argv", ["program", *map(str, arguments)]),
            patch.dict(KINDS),  # a new process has only those that its command loads
            redirect_stdout(stdout),
            redirect_stderr(stderr),
        ):
            try:
                status = program() or 0
            except LadderError as error:
                print(f"error: {error}", file=sys.stderr)
                status = error.exit_status
            except SystemExit as end:
                status = end.code
            finally:
                kernels.select("numba")
                kernels.set_threads(None)
        return Done(status, stdout.getvalue(), stderr.getvalue())

    def compose(self, *overrides):
        """Do what stages/compose.py does for the tiny settings and `overrides`."""
        with patch.object(compose, "CONF", self / "conf"):
            return self.here(compose.main, "experiment=smoke", *overrides)

    def stage(self, name, folder=None):
        """Run a stage by params.yaml, without DVC."""

        def program():
            body = getattr(importlib.import_module(f"stages.{name}"), name)
            config = validated(OmegaConf.load("params.yaml"))
            outputs = Path("outputs")
            run(getattr(body, "__wrapped__", body), config, outputs / (folder or name), outputs)

        return self.here(program)

    def lmladder(self, *arguments):
        return self.here(main, *arguments)

    def by_hand(self, name, *arguments, environment=None):
        """A stage in a process of its own, as people run it; by params.yaml with -cn pipeline."""
        return self.run(PYTHON, f"stages/{name}.py", *arguments, environment=environment)

    def dvc(self, *arguments, environment=None):
        # DVC's commands bring their own PYTHONPATH, as they must.
        environment = {"PYTHONPATH": "", **(environment or {})}
        return self.run(PYTHON, "-m", "dvc", *arguments, environment=environment)

    def git(self, *arguments):
        return self.run("git", *arguments).succeeded().stdout

    def table(self, name="outputs/evaluate/perplexity.csv"):
        """The rows of a table, as mappings."""
        with (self / name).open(newline="") as file:
            return list(csv.DictReader(file))

    def outputs(self):
        """The bytes of every file under outputs/ except facts of one machine, by path."""
        paths = [path for path in (self / "outputs").rglob("*") if path.is_file()]
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in paths
            if path.name != ".gitignore" and ".work" not in path.parts
        }

    def commit(self):
        """Commit all files that git does not ignore; in a new repository if there is none."""
        who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git(*who, "commit", "--quiet", "--message", "as it is")

    def make_tiny_settings_the_default(self):
        conf = self / "conf/config.yaml"
        conf.write_text(conf.read_text().replace("experiment: null", "experiment: smoke"))


def new_checkout(path):
    """The files of the work tree as they are now, committed; neither results nor a lock file."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
        encoding="utf-8",
    ).stdout
    for name in listed.split("\0"):
        source = PROJECT / name
        result = name.startswith("outputs/") and source.name != ".gitignore"
        unused = name.startswith(("docs/", "results/", "tests/")) or name == "dvc.lock"
        if source.is_file() and not unused and not result:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, path / name)
    checkout = Checkout(path)
    checkout.commit()
    return checkout


def wait_for(condition, process, seconds=60):
    """Return as soon as the condition holds, or the process has ended without it."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


@pytest.fixture
def clone(tmp_path):
    """A fresh clone of the last commit: its results are there, but nothing is in a cache."""
    path = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", PROJECT, path], check=True)
    return Checkout(path)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A checkout whose pipeline has run with tiny settings; read only. All workers share one."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    path = folder / "smoke"
    with (folder / "smoke.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (folder / "smoke.done").exists():
            shutil.rmtree(path, ignore_errors=True)
            checkout = new_checkout(path)
            checkout.run(PYTHON, "stages/compose.py", "experiment=smoke").succeeded()
            checkout.dvc("repro").succeeded()
            (folder / "smoke.done").touch()
    return Checkout(path)


@pytest.fixture
def checkout(smoke, tmp_path):
    """A copy of `smoke` that the test may change."""
    # Another test may run git there, which then has its lock.
    at_work = shutil.ignore_patterns("index.lock")
    shutil.copytree(smoke.path, tmp_path / "checkout", symlinks=True, ignore=at_work)
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def lmladder(smoke, lmladder, monkeypatch):
    """The `lmladder` command in `smoke`, within this process."""
    monkeypatch.chdir(smoke.path)
    return lmladder
