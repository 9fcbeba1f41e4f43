"""Running the body of a stage: once, or only if its results are stale.

A body is a function of the validated configuration, the folder it writes to and the folder of the
ladder, from whose subfolders it reads the results of earlier stages. It returns the value that a
search minimizes, or None. It has the name of its stage.
"""

import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from lmladder import kernels
from lmladder.config import Config
from lmladder.experiments import jobs
from lmladder.pipeline.rungs import folders_read
from lmladder.system import environment
from lmladder.system.errors import RunError
from lmladder.system.files import cannot_write, work_folder, write_json
from lmladder.system.locks import locked

MACHINE = "machine.json"  # time and memory of a run, and the environment in which it ran
Body: TypeAlias = Callable[[Config, Path, Path], float | None]


def run(body: Body, config: Config, folder: Path, ladder: Path) -> float | None:
    """Run a body in a folder that no other process may use meanwhile."""
    with locked(folder):
        return _run(body, config, folder, ladder)


def run_if_stale(body: Body, config: Config, folder: Path, ladder: Path) -> float | None:
    """Run like `run`, unless the folder contains the results of an earlier, identical run."""
    with locked(folder):
        return run_as_job(body, config, folder, ladder)


def run_as_job(body: Body, config: Config, folder: Path, ladder: Path) -> float | None:
    """Run like `run_if_stale`, in a folder that the caller has locked."""
    read = [ladder / name for name in folders_read(body.__name__, config)]
    fingerprint = jobs.fingerprint(config, body.__name__, read)
    finished, objective = jobs.is_finished(folder, fingerprint)
    if finished:
        print(f"already finished: {folder}", flush=True)
        return objective
    objective = _run(body, config, folder, ladder)
    jobs.finish(folder, fingerprint, objective)
    return objective


def _run(body: Body, config: Config, folder: Path, ladder: Path) -> float | None:
    started = time.perf_counter()
    kernels.set_threads(config.runtime.threads)
    kernels.select(config.runtime.kernels)
    with warnings.catch_warnings(), _explained_failures(body.__name__, folder):
        # Training reports a loss that diverges, with its step.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="lmladder")
        objective = body(config, folder, ladder)
    unit = 1024**2 if sys.platform == "darwin" else 1024  # bytes or KiB
    facts = {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
        "environment": environment.describe(kernels.describe()),
    }
    write_json(work_folder(folder) / MACHINE, facts)
    return objective


@contextmanager
def _explained_failures(name: str, folder: Path) -> Iterator[None]:
    """Convert MemoryError, and OSError raised by libraries, to RunError."""
    try:
        yield
        print(end="", flush=True)
    except MemoryError as error:
        reason = f"out of memory: {error}".removesuffix(": ")
        raise RunError(f"{name}: {reason}; make batches, sizes or the text smaller") from error
    except BrokenPipeError as error:  # the reader has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise RunError(f"{name}: nobody reads its output any more") from error
    except (OSError, ImportError) as error:
        if not isinstance(error, OSError) or error.errno is None:  # a library cannot be loaded
            raise RunError(f"{name}: {error}") from error
        if error.filename is not None:
            raise RunError(f"cannot open {error.filename}: {error.strerror}") from error
        raise cannot_write(folder, error) from error
