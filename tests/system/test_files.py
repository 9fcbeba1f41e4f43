import errno
import os
import stat
import subprocess
import sys

from lmladder.system.errors import RunError
from lmladder.system.files import atomic_write, atomic_writer

import pytest


def assert_one_line_naming(error, path):
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_file_holds_what_was_written_and_nothing_lies_beside_it(tmp_path):
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_older_file_is_replaced_whole(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"a much longer text")
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_readers_see_the_older_file_until_the_block_ends(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_writer(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_in_the_block_leaves_the_older_file_and_no_side_file(tmp_path, failure):
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


def test_a_full_disk_is_told_in_one_line_and_leaves_no_side_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device") as error:
        atomic_write(tmp_path / "a.bin", b"new")
    assert_one_line_naming(error, tmp_path / "a.bin")
    assert os.listdir(tmp_path) == []


def test_a_file_system_that_cannot_flush_folders_is_no_failure(tmp_path, monkeypatch):
    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", only_files)
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_missing_folder_is_told_in_one_line(tmp_path):
    with pytest.raises(RunError, match="No such file or directory") as error:
        atomic_write(tmp_path / "missing" / "a.bin", b"new")
    assert_one_line_naming(error, tmp_path / "missing" / "a.bin")


def test_a_directory_is_not_replaced(tmp_path):
    with pytest.raises(RunError, match="is a directory") as error:
        atomic_write(tmp_path, b"new")
    assert_one_line_naming(error, tmp_path)


def test_a_special_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="not a regular file"):
        atomic_write(tmp_path / "pipe", b"new")
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    (tmp_path / "cache").write_bytes(b"old")
    (tmp_path / "a.bin").symlink_to(tmp_path / "cache")
    atomic_write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "cache").read_bytes() == b"old"
    assert (tmp_path / "a.bin").read_bytes() == b"new"


@pytest.fixture(scope="module")
def ended():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_of_a_file_is_removed_when_it_is_written_again(tmp_path, ended):
    (tmp_path / f".a.bin.{ended}.tmp").write_bytes(b"half")
    atomic_write(tmp_path / "a.bin", b"new")
    assert os.listdir(tmp_path) == ["a.bin"]


def test_files_of_others_stay(tmp_path, ended):
    others = {
        ".notes.tmp", f".b.bin.{ended}.tmp", f".a.bin.{os.getppid()}.tmp", ".a.bin.tmp",
        f"a.bin.{ended}.tmp", f".a.bin.{ended}.tmp.old", f".aXbin.{ended}.tmp",
    }  # fmt: skip
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / f".a.bin.{ended + 1}.tmp").mkdir()
    (tmp_path / f".a.bin.{2**70}.tmp").symlink_to(tmp_path / ".notes.tmp")
    others |= {path.name for path in tmp_path.iterdir()}
    atomic_write(tmp_path / "a.bin", b"new")
    assert {path.name for path in tmp_path.iterdir()} == others | {"a.bin"}
