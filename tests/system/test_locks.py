"""Two processes in one folder: the second is rejected; a process that has ended holds no lock."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

from lmladder.system.errors import RunError
from lmladder.system.locks import locked, remove_empty

import pytest

HOLDER = """
import sys
from pathlib import Path
from lmladder.system.files import work_folder
from lmladder.system.locks import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def rejection(folder):
    with pytest.raises(RunError) as error, locked(folder):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_second_process_is_rejected_until_the_first_ends_even_if_that_is_killed(tmp_path):
    pipe, left = subprocess.PIPE, ".a.json.0123abcd.tmp"
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as first:
        assert first.stdout.readline() == b"locked\n"
        for name in (left, ".users.tmp"):
            (folder / name).touch()
        for _ in range(2):  # a rejection does not remove the lock
            assert f"{folder} is in use by process {first.pid};" in rejection(folder)
        assert {*os.listdir(folder)} == {left, ".users.tmp"}
        first.send_signal(signal.SIGKILL)
        first.wait()
    with locked(folder):
        assert f"process {os.getpid()};" in rejection(folder)
    assert {*os.listdir(folder)} == {".users.tmp"}


def test_where_no_locks_exist_there_are_none(tmp_path, monkeypatch):
    def no_locks(*_):  # a network file system without them
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locked(tmp_path / "b"), locked(tmp_path / "b"):
        pass


@pytest.mark.parametrize(("content", "held", "stays"), [("", 0, 0), ("", 1, 1), ("{}", 0, 1)])
def test_an_empty_file_is_removed_unless_its_lock_is_held(tmp_path, content, held, stays):
    path, lock = tmp_path / "rwlock", tmp_path / "rwlock.lock"
    path.write_text(content)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if held else fcntl.LOCK_UN)
        remove_empty(path, lock)
    assert path.exists() == bool(stays)
