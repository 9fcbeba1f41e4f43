"""What holds for all tests. lmladder is imported before NumPy, so that its arithmetic is pinned."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest.mock import patch

from lmladder import kernels
from lmladder.cli.main import main
from lmladder.models import KINDS

import pytest

# A shell that starts `make test &` ignores SIGINT, and so would the tests and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: object
    stdout: str
    stderr: str

    def succeeded(self) -> "Done":
        assert self.status == 0, self.stdout + self.stderr
        return self

    def failed_in_one_line(self, status: int, *named: object) -> str:
        """Return the one line on stderr, which names all of `named`."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, "\n".join(lines[-20:])
        assert lines[0].startswith("error: ")
        assert self.status == status, lines[0]
        for name in named:
            assert str(name) in lines[0]
        return lines[0]

    @property
    def stages_run(self) -> list[str]:
        prefix = "Running stage '"
        lines = [line for line in self.stdout.splitlines() if line.startswith(prefix)]
        return [line.removeprefix(prefix).partition("'")[0] for line in lines]


@pytest.fixture
def lmladder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """The `lmladder` command within this process, as a new one takes half a second."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["lmladder", *map(str, arguments)])
        capsys.readouterr()  # what was printed before
        with pytest.raises(SystemExit) as end:
            main()
        return Done(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _restore_threads_kernels_and_kinds() -> Iterator[None]:
    threads, selected = kernels.threads(), kernels.selected()
    with patch.dict(KINDS):  # a test may load files that define kinds
        yield
    kernels.set_threads(threads)
    kernels.select(selected)


@pytest.fixture(autouse=True, scope="session")
def _no_fsync() -> Iterator[None]:
    """Do not flush files to the disk, which would take most of the time of many tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
