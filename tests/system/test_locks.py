"""Two processes in one folder: the second is told of the first; a dead one holds nothing."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmladder.system import locks as locking
from lmladder.system.errors import RunError
from lmladder.system.files import atomic_write
from lmladder.system.locks import LOCK, locked

import pytest

HOLDER = """
import sys
from pathlib import Path
from lmladder.system.locks import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_in(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process


def refusal(folder: Path) -> str:
    with pytest.raises(RunError) as error, locked(folder):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_second_process_is_told_the_id_of_the_first(tmp_path: Path) -> None:
    with another_process_in(tmp_path) as first:
        told = refusal(tmp_path)
        assert f"{tmp_path} is in use by process {first.pid};" in told
        assert "hydra.run.dir" in told
        assert str(first.pid) in refusal(tmp_path)  # and being refused breaks no lock
    with locked(tmp_path):
        pass


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    with another_process_in(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        assert f"process {os.getpid()};" in refusal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


def test_other_folders_are_not_concerned(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    with locked(folders[0]), locked(folders[1]):
        pass


def test_a_lock_that_its_holder_removes_just_then_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, removed = tmp_path / LOCK, []

    def flock(descriptor: int, how: int) -> None:
        if not removed:
            path.unlink()  # the holder ends between our opening the file and our locking it
            removed.append(path)
        honest(descriptor, how)

    honest = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path):
        assert "in use by process" in refusal(tmp_path)


def test_a_folder_that_may_not_be_written_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_permission(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", no_permission)
    assert re.fullmatch(r"cannot write .*/\.lock: Permission denied", refusal(tmp_path))


def test_a_read_only_folder_is_told_in_one_line_and_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("root may write anywhere")
    try:
        assert refusal(tmp_path) == f"cannot write {tmp_path / LOCK}: Permission denied"
        with pytest.raises(RunError, match="Permission denied"):
            atomic_write(tmp_path / "metrics.json", b"{}")
        assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(0o755)


def test_without_locks_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)  # a network file system without them
        with locked(tmp_path):
            pass
    monkeypatch.setattr(locking, "fcntl", None)  # another operating system
    with locked(tmp_path):
        assert list(tmp_path.iterdir()) == []
