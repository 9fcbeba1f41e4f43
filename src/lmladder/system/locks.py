"""One process at a time in the folder of a run.

The lock is the kernel's (flock), so it ends with the process that holds it, however that dies; the
file that it is on tells only who holds it. Where there is no flock, nothing is locked.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lmladder.system.errors import RunError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Nobody else is in this context for the same folder, which exists.

    Raises
    ------
    RunError
        If another process is, named by its id; or if the folder cannot be written.
    """
    if fcntl is None:
        yield
        return
    path = directory / LOCK
    try:
        descriptor = _lock(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before the lock is given back, so that it is nobody else's
        os.close(descriptor)


def _lock(path: Path) -> int:
    """A descriptor of the file at `path`, locked where the file system knows locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            raise RunError(
                f"{path.parent} is in use by process {holder or 'of unknown id'}; "
                "wait until it has ended, or give this run another folder with hydra.run.dir=..."
            ) from None
        except OSError:
            return descriptor  # such as a network file system without locks
        if _is_at(path, descriptor):
            with suppress(OSError):  # such as a full disk; what needs the space will tell
                os.truncate(descriptor, 0)
                os.write(descriptor, b"%d\n" % os.getpid())
            return descriptor
        os.close(descriptor)  # its holder has ended and removed it in between


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
