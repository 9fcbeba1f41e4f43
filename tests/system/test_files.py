"""A file is replaced as a whole or not at all, and nothing remains beside it."""

import errno
import os
import threading

from lmladder.system.errors import RunError
from lmladder.system.files import atomic_write, atomic_writer

import pytest


def test_readers_see_whole_files_only_whatever_the_number_of_writers(tmp_path):
    path, found = tmp_path / "a.bin", set()
    contents = {bytes([65 + i]) * size for i, size in enumerate((10, 3_000_000, 700_000))}
    path.write_bytes(min(contents))

    def write(content):
        for _ in range(20):
            atomic_write(path, content)

    writers = [threading.Thread(target=write, args=[each]) for each in contents]
    for each in writers:
        each.start()
    while any(each.is_alive() for each in writers):
        found.add(path.read_bytes())
    assert found <= contents
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

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(os, "fsync", full)
    for path, reason in [
        (tmp_path / "missing/a.bin", "No such file or directory"),
        (tmp_path, "it is not a regular file"),
        (pipe, "it is not a regular file"),
        (tmp_path / "full.bin", "No space left on device"),
    ]:
        with pytest.raises(RunError) as error:
            atomic_write(path, b"new")
        assert str(error.value) == f"cannot write {path}: {reason}"
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_link_is_replaced_and_its_target_does_not_change(tmp_path):
    (tmp_path / "cache").write_bytes(b"old")
    (tmp_path / "a.bin").symlink_to(tmp_path / "cache")
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "cache").read_bytes() == b"old"
    assert (tmp_path / "a.bin").read_bytes() == b"new"
