"""The stages, an entry each: where the body of each is, what it reads, and how it is run once.

A body is a function of the stage, the typed configuration, the folder it writes to and the folder
of the ladder: the folder with a folder for each stage, where it reads what the stages before it
have written.
"""

import math
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
from lmladder.experiments.jobs import ENVIRONMENT, PERFORMANCE
from lmladder.pipeline.rungs import rungs_of
from lmladder.system import environment
from lmladder.system.errors import RunError
from lmladder.system.files import cannot_write, write_json
from lmladder.system.locks import locked
from lmladder.system.settings import imported


@dataclass(frozen=True)
class Result:
    """What a stage reports when it has ended.

    Attributes
    ----------
    tokens_per_second : how many it worked through, for performance.json
    objective : what a search minimizes
    """

    tokens_per_second: float | None = None
    objective: float | None = None


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes
    ----------
    name : of its script and in dvc.yaml
    body : "module:function", see above
    reads : the folders of the ladder that it reads, for a configuration
    smaller : the settings that make its memory smaller, for a failure that no estimate foresees
    """

    name: str
    body: str
    reads: Callable[[Config], list[str]] = lambda config: ["prepare"]
    smaller: str = "its settings"

    def run(self, config: Config, out: Path, ladder: Path) -> Result:
        """Run in the folder `out`, and write the facts of this run beside its results."""
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            return self._run(config, out, ladder)

    def run_if_stale(self, config: Config, out: Path, ladder: Path) -> Result:
        """The same, unless the folder holds what this would give, from an earlier time."""
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            folders = [ladder / name for name in self.reads(config)]
            asked = outcome.fingerprint(config, self.name, folders)
            finished, objective = outcome.is_finished(out, asked)
            if finished:
                print(f"finished before: {out}", flush=True)
                return Result(objective=objective)
            result = self._run(config, out, ladder)
            outcome.finish(out, asked, result.objective)
        return result

    def _run(self, config: Config, out: Path, ladder: Path) -> Result:
        started = time.perf_counter()
        kernels.set_threads(config.runtime.threads)
        with warnings.catch_warnings(), self._explained_failures(out):
            # A loss that diverges is reported in a line of its own, which names the step.
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="lmladder")
            result: Result = imported(self.body)(self, config, out, ladder)
        _write_facts(out, time.perf_counter() - started, result.tokens_per_second)
        return result

    @contextmanager
    def _explained_failures(self, out: Path) -> Iterator[None]:
        """Make a RunError of what a machine lacks: memory, and what files take.

        Our own writing names its files (`atomic.py`); here end those of libraries.
        """
        try:
            yield
        except MemoryError as error:
            reason = f": {error}" if str(error) else ""
            raise RunError(
                f"{self.name}: out of memory{reason}; make {self.smaller} smaller"
            ) from error
        except OSError as error:
            if error.filename is not None:
                raise RunError(f"cannot open {error.filename}: {error.strerror}") from error
            raise cannot_write(out, error) from error


def _write_facts(out: Path, seconds: float, tokens_per_second: float | None) -> None:
    """Facts of this run and this machine; no outs of DVC, as they change with every one."""
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        peak_kib //= 1024  # bytes there
    finite = tokens_per_second is not None and math.isfinite(tokens_per_second)
    facts = {
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens_per_second) if finite and tokens_per_second else None,
        "peak_memory_mb": round(peak_kib / 1024),
    }
    write_json(out / PERFORMANCE, facts)
    write_json(out / ENVIRONMENT, environment.describe(kernels.describe()))


def _all_rungs(config: Config) -> list[str]:
    return ["prepare", *(rung.folder for rung in rungs_of(config))]


_FIT = "lmladder.pipeline.fitting:fit"
_SIZES = "training.batch_size, training.sequence_length or the sizes of the model"
STAGES = {
    each.name: each
    for each in (
        Stage(
            "prepare", "lmladder.pipeline.prepare:prepare", lambda config: [],
            "data.characters or tokenizer.vocabulary_size",
        ),
        *(Stage(name, _FIT, smaller=_SIZES) for name in RUNG_STAGES),
        Stage("rung", _FIT, smaller=_SIZES),
        Stage(
            "evaluate", "lmladder.pipeline.evaluate:evaluate", _all_rungs, "evaluate.batch_tokens"
        ),
        Stage("ladder", "lmladder.pipeline.ladder:ladder", lambda config: []),
    )
}  # fmt: skip
