"""The table of stages, and how a stage is run.

The body of a stage is a function of the stage, the typed configuration, the folder it writes to and
the folder of the ladder, from whose subfolders it reads the results of earlier stages.
"""

import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lmladder import kernels
from lmladder.config import STAGES as RUNG_STAGES
from lmladder.config import Config
from lmladder.experiments import jobs as outcome
from lmladder.experiments.jobs import MACHINE
from lmladder.models.registry import GROUPS
from lmladder.pipeline.rungs import rungs_of
from lmladder.system import environment
from lmladder.system.errors import RunError
from lmladder.system.files import cannot_write, write_json
from lmladder.system.locks import locked
from lmladder.system.settings import import_object


@dataclass(frozen=True)
class Result:
    """What a stage returns.

    Attributes
    ----------
    tokens_per_second : speed of the work, for machine.json
    objective : the value that a search minimizes
    """

    tokens_per_second: float | None = None
    objective: float | None = None


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes
    ----------
    name : of its script and in dvc.yaml
    body : "module:function" of the function described above
    reads : returns the folders of the ladder that it reads, for a configuration
    smaller : the settings that reduce its memory, for the message when memory runs out
    """

    name: str
    body: str
    reads: Callable[[Config], list[str]] = lambda config: ["prepare"]
    smaller: str = "its settings"

    def run(self, config: Config, out: Path, ladder: Path) -> Result:
        """Run in the folder `out`; write results, and the facts of this run and machine."""
        with locked(out):
            return self._run(config, out, ladder)

    def run_if_stale(self, config: Config, out: Path, ladder: Path) -> Result:
        """Run like `run`, unless `out` contains the results of an earlier, identical run."""
        with locked(out):
            return self.run_as_job(config, out, ladder)

    def run_as_job(self, config: Config, out: Path, ladder: Path) -> Result:
        """Run like `run_if_stale`, in a folder that the caller has locked."""
        folders = [ladder / name for name in self.reads(config)]
        fingerprint = outcome.fingerprint(config, self.name, folders)
        finished, objective = outcome.is_finished(out, fingerprint)
        if finished:
            print(f"already finished: {out}", flush=True)
            return Result(objective=objective)
        result = self._run(config, out, ladder)
        outcome.finish(out, fingerprint, result.objective)
        return result

    def _run(self, config: Config, out: Path, ladder: Path) -> Result:
        started = time.perf_counter()
        kernels.set_threads(config.runtime.threads)
        with warnings.catch_warnings(), self._explained_failures(out):
            # Training reports a loss that diverges, with its step.
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="lmladder")
            result: Result = import_object(self.body)(self, config, out, ladder)
        _write_facts(out, time.perf_counter() - started, result.tokens_per_second)
        return result

    @contextmanager
    def _explained_failures(self, out: Path) -> Iterator[None]:
        """Convert MemoryError, and OSError raised by libraries, to RunError."""
        try:
            yield
            print(end="", flush=True)
        except MemoryError as error:
            reason = f"out of memory: {error}".removesuffix(": ")
            raise RunError(f"{self.name}: {reason}; make {self.smaller} smaller") from error
        except BrokenPipeError as error:  # the reader has ended, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise RunError(f"{self.name}: nobody reads its output any more") from error
        except (OSError, ImportError) as error:
            if not isinstance(error, OSError) or error.errno is None:  # a library cannot be loaded
                raise RunError(f"{self.name}: {error}") from error
            if error.filename is not None:
                raise RunError(f"cannot open {error.filename}: {error.strerror}") from error
            raise cannot_write(out, error) from error


def _write_facts(out: Path, seconds: float, tokens_per_second: float | None) -> None:
    """Write the facts of this run and machine, which DVC does not track."""
    speed = tokens_per_second or math.nan
    unit = 1024**2 if sys.platform == "darwin" else 1024  # bytes or KiB
    facts = {
        "seconds": round(seconds, 2),
        "tokens_per_second": round(speed) if math.isfinite(speed) else None,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit),
        "environment": environment.describe(kernels.describe()),
    }
    write_json(out / MACHINE, facts)


def _all_rungs(config: Config) -> list[str]:
    return ["prepare", *(rung.folder for rung in rungs_of(config))]


def _sources(config: Config) -> list[str]:
    rungs = [each for each in rungs_of(config) if each.name == config.rung]
    folders = [source.folder for rung in rungs for source in rung.sources]
    return [*dict.fromkeys(["prepare", *folders])]


HERE = "lmladder.pipeline"
_FIT = f"{HERE}.fitting:fit"
_SIZES = "training.batch_size, training.sequence_length or the sizes of the model"
_TEXT = "data.characters or tokenizer.vocabulary_size"
STAGES = {
    each.name: each
    for each in (
        Stage("prepare", f"{HERE}.prepare:prepare", lambda config: [], _TEXT),
        *(Stage(name, _FIT, _sources, _SIZES) for name in (*RUNG_STAGES, *GROUPS.values())),
        Stage("evaluate", f"{HERE}.evaluate:evaluate", _all_rungs, "evaluate.batch_tokens"),
        Stage("ladder", f"{HERE}.ladder:ladder", lambda config: []),
    )
}
