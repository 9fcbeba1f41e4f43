"""Writing files so that nothing half-written ever stands under a final name.

The bytes go to a side file in the same folder, are flushed to the disk, and only then take the
final name by a rename, which replaces an older file whole or not at all. A side file that a killed
process has left is removed when the same file is written again.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lmladder.system.errors import RunError

SIDE_SUFFIX = ".tmp"  # of the hidden file that is written first


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends, and vanishes when it fails.

    The block should write to this file and touch no other: any OSError in it is taken for this
    file's. A symbolic link at `path` is replaced, and what it points to is left alone.

    Raises
    ------
    RunError
        If the file cannot be written, such as for want of space, or if `path` is no regular file.
    """
    path = Path(path)
    try:
        _refuse_all_but_files(path)
        _discard_left_over(path)
        side = path.with_name(f".{path.name}.{os.getpid()}{SIDE_SUFFIX}")
        try:
            with open(side, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            replace_durably(side, path)
        except BaseException:
            with suppress(OSError):
                side.unlink()
            raise
    except OSError as error:
        raise cannot_write(path, error) from error


def atomic_write(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`, or fail with a RunError and leave `path` as it was."""
    with atomic_writer(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Indented and sorted: the same values give the same bytes, and git shows what changed."""
    atomic_write(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def replace_durably(side: Path, path: Path) -> None:
    """Rename `side` to `path`, and have the folder remember it even if the power fails."""
    os.replace(side, path)
    with suppress(OSError):  # some file systems cannot flush a folder; the rename has happened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def cannot_write(path: Path, error: OSError) -> RunError:
    """The RunError that tells in one line why `path` could not be written."""
    return RunError(f"cannot write {path}: {error.strerror or error}")


def _refuse_all_but_files(path: Path) -> None:
    """Renaming a file over /dev/null would replace the device for everyone."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")


def _discard_left_over(path: Path) -> None:
    """Remove the side files of `path` whose processes have ended, and nothing else."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+){re.escape(SIDE_SUFFIX)}")
    with os.scandir(path.parent) as entries:
        for entry in entries:
            found = pattern.fullmatch(entry.name)
            if found and entry.is_file(follow_symlinks=False) and not _is_running(int(found[1])):
                with suppress(OSError):
                    os.unlink(entry)


def _is_running(process: int) -> bool:
    """Whether a process of this id exists on this machine, whoever owns it."""
    if os.name != "posix":  # there, os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # such as one that is another user's
        return True
    return True


def sha256(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
