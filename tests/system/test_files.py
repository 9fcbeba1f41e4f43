"""A file is replaced as a whole or not at all, and nothing remains beside it."""

import errno
import os
import stat

from lmladder.system.errors import RunError
from lmladder.system.files import atomic_write, atomic_writer

import pytest


def test_readers_see_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"a much longer text")
    with atomic_writer(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"a much longer text"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_while_writing_leaves_the_old_file_alone(tmp_path, failure):
    def write_half():
        with atomic_writer(path) as file:
            file.write(b"half")
            raise failure

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(failure):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_what_cannot_be_written_is_named_in_one_line(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    pipe, missing = tmp_path / "pipe", tmp_path / "missing/a.bin"
    os.mkfifo(pipe)
    reasons = [
        (missing, "No such file or directory"),
        (tmp_path, "not a regular file"),
        (pipe, "not a regular file"),
        (tmp_path / "full.bin", "No space left on device"),
    ]
    monkeypatch.setattr(os, "fsync", full)
    for path, reason in reasons:
        with pytest.raises(RunError, match=reason) as error:
            atomic_write(path, b"new")
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_file_system_that_cannot_flush_folders_is_no_failure(tmp_path, monkeypatch):
    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", only_files)
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_link_is_replaced_and_its_target_does_not_change(tmp_path):
    (tmp_path / "cache").write_bytes(b"old")
    (tmp_path / "a.bin").symlink_to(tmp_path / "cache")
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "cache").read_bytes() == b"old"
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_the_remains_of_a_killed_process_are_overwritten(tmp_path):
    (tmp_path / ".a.bin.tmp").write_bytes(b"half of a much longer text")
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]
