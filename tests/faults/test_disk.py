"""A full disk, a read-only folder: one line, nothing half-written, and later the same bytes."""

import errno
import math
import os
import re
from types import SimpleNamespace

from lmladder.data import Prepared
from lmladder.system.errors import InputError, RunError
from lmladder.system.files import work_folder
from lmladder.training.checkpoint import Checkpoint
from tests.faults.examples import prepare_in, train_in

import pytest


def results(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full after `disk.left` flushes of files and folders."""
    disk = SimpleNamespace(left=math.inf)

    def fsync(descriptor):
        disk.left -= 1
        if disk.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    return disk


@pytest.mark.parametrize("action", [train_in, prepare_in])
def test_what_fails_on_a_full_disk_leaves_whole_files_and_ends_well_later(action, disk, tmp_path):
    action(tmp_path / "whole")
    expected = results(tmp_path / "whole")
    for flushes in range(100):  # each time the disk is full at another file
        folder = tmp_path / f"{flushes}"
        disk.left = flushes
        try:
            action(folder)
            break
        except RunError as error:
            message = str(error)
        assert re.fullmatch(rf"cannot write {tmp_path}/\S+: No space left on device", message)
        for name, content in results(folder).items():
            assert content == expected[name]
        for path in work_folder(folder).glob("unfinished*"):
            Checkpoint.load(path)
        if action is prepare_in:
            with pytest.raises(InputError, match="dvc repro prepare"):
                Prepared.open(folder)
        disk.left = math.inf
        action(folder)
        assert results(folder) == expected
    assert len(expected) <= flushes < 99
