"""Atomic writing: a final name never refers to a partly written file.

The bytes are written to a temporary file in the same folder, with a name of its own, and flushed to
the disk. A rename then gives it the final name, which replaces an older file as a whole or not at
all. `locks.locked` removes the temporary files of a process that was killed.
"""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lmladder.system.errors import RunError

TEMPORARY = f".*.{'[0-9a-f]' * 8}.tmp"  # the pattern of the names of temporary files


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` when the block ends, and is removed if it fails.

    The block should write to this file only: any OSError in it is reported as this file's. A
    symbolic link at `path` is replaced; its target is not changed.

    Raises
    ------
    RunError
        If the file cannot be written, for example on a full disk, or if `path` exists and is not a
        regular file.
    """
    try:
        if path.exists() and not path.is_file():  # a rename over /dev/null would replace the device
            raise OSError(errno.EINVAL, "it is not a regular file")
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise cannot_write(path, error) from error


def atomic_write(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`, or raise RunError and leave `path` unchanged."""
    with atomic_writer(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys: the same value gives the same bytes."""
    atomic_write(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, if it does not exist; RunError if that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def work_folder(folder: Path) -> Path:
    """Return the folder for what is no result of a run: locks, unfinished states, machine facts.

    It is beside the folder of results, as DVC removes and hashes that as a whole.
    """
    return folder.parent / ".work" / folder.name


def cannot_write(path: Path, error: OSError) -> RunError:
    """Return the RunError that states in one line why `path` could not be written."""
    return RunError(f"cannot write {path}: {error.strerror or error}")


def sha256(path: Path) -> str:
    """Return the sha256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
