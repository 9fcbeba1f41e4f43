"""A lock on the folder of a run, so that one process at a time writes there.

The lock is the kernel's (flock), so it ends with its process, even if that is killed. The locked
file remains; it only contains the id of the process. A file system without locks locks nothing.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lmladder.system.errors import RunError
from lmladder.system.files import TEMPORARY, cannot_write, work_folder

LOCK = "lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Create a folder if it is missing, and exclude other processes from this context for it.

    Raises
    ------
    RunError
        If another process is in it; the message contains its id. Also if the folder cannot be
        written.
    """
    path = work_folder(directory) / LOCK
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path, directory)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path, directory: Path) -> int:
    """Return a descriptor of the file at `path`, locked if the file system supports locks."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise RunError(
            f"{directory} is in use by process {holder or 'of unknown id'}; "
            "wait until it has ended, or give a stage another folder with hydra.run.dir=..."
        ) from None
    except OSError:
        return descriptor  # such as a network file system without locks
    with suppress(OSError):  # such as a full disk, which the run will report
        # What a process that was killed has left.
        for left in (*directory.glob(TEMPORARY), *path.parent.glob(TEMPORARY)):
            left.unlink()
        os.truncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
    return descriptor


def remove_empty(path: Path, lock: Path) -> None:
    """Remove a file that is empty, unless another process holds the lock that guards it."""
    with suppress(OSError), lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.stat().st_size:
            path.unlink()
