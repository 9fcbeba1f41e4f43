"""Two processes in one folder: the second is rejected; a process that has ended holds no lock."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmladder.system.errors import RunError
from lmladder.system.locks import LOCK, locked, remove_empty

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


def rejection(folder: Path) -> str:
    with pytest.raises(RunError) as error, locked(folder):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_second_process_is_rejected_with_the_id_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with another_process_in(tmp_path) as first:
        for _ in range(2):  # a rejection does not remove the lock
            message = rejection(tmp_path)
            assert f"{tmp_path} is in use by process {first.pid};" in message
            assert "hydra.run.dir" in message
        with pytest.raises(KeyError), locked(tmp_path / "other"):
            raise KeyError
    for folder in (tmp_path, tmp_path / "other"):
        with locked(folder):
            pass


def test_a_process_that_was_killed_holds_no_lock_and_its_temporary_files_are_removed(
    tmp_path: Path,
) -> None:
    with another_process_in(tmp_path) as first:
        for name in (".a.json.0123abcd.tmp", ".users.tmp"):
            (tmp_path / name).touch()
        rejection(tmp_path)
        assert len(os.listdir(tmp_path)) == 3
        first.send_signal(signal.SIGKILL)
        first.wait()
    with locked(tmp_path):
        assert f"process {os.getpid()};" in rejection(tmp_path)
    assert {*os.listdir(tmp_path)} == {LOCK, ".users.tmp"}


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    assert rejection(tmp_path) == f"cannot write {tmp_path / LOCK}: Is a directory"


@pytest.mark.parametrize(("content", "held", "stays"), [("", 0, 0), ("", 1, 1), ("{}", 0, 1)])
def test_an_empty_file_is_removed_unless_its_lock_is_held(
    tmp_path: Path, content: str, held: int, stays: int
) -> None:
    path, lock = tmp_path / "rwlock", tmp_path / "rwlock.lock"
    path.write_text(content)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if held else fcntl.LOCK_UN)
        remove_empty(path, lock)
    assert path.exists() == bool(stays)


def test_where_locks_do_not_exist_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)  # a network file system without them
    with locked(tmp_path), locked(tmp_path):
        pass
