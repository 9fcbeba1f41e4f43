"""What the stage scripts share: the door, and how they fail.

A stage is a function of the typed configuration, the folder it writes to and the ladder it stands
in: the folder with a folder for each stage, where it reads what the stages before it have written.
`@stage` puts Hydra in front of it: `python stages/x.py -cn pipeline` reads params.yaml for DVC,
`python stages/x.py [-m] overrides` composes conf/ for people. A mistake in the input ends in one
line and exit status 2, a run that fails in one line and status 1. A sweep goes on after a job that
fails, and does not run again what it has finished. `--help` begins with the script's docstring.
"""

import functools
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeAlias

from lmladder import environment, kernels, outcome
from lmladder.atomic import cannot_write, write_json
from lmladder.config import Config, one_line, typed
from lmladder.errors import InputError, LadderError, RunError
from lmladder.interrupt import exit_status
from lmladder.locking import locked
from lmladder.outcome import ENVIRONMENT, PERFORMANCE

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

OUTPUTS = Path("outputs")

# What Hydra raises for a configuration that cannot be composed.
CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)
EXTRAS = {  # where the launchers and sweepers are that Hydra does not bring
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}


@dataclass(frozen=True)
class Done:
    """What a stage tells when it has ended.

    Attributes
    ----------
    tokens_per_second : how many it worked through, for performance.json
    objective : what a search makes as small as it can
    """

    tokens_per_second: float | None = None
    objective: float | None = None


Run: TypeAlias = Callable[[Config, Path, Path], Done]


@dataclass(frozen=True)
class Stage:
    """A stage, and as a function without arguments its main program.

    Attributes
    ----------
    run : takes the configuration, the stage's folder, which exists and no other process is at work
        in, and the folder of the ladder
    reads : the stages whose results it reads there
    """

    run: Run
    reads: tuple[str, ...]

    def __call__(self) -> None:
        _main(self)

    def carry_out(self, config: Config, out: Path, ladder: Path) -> Done:
        """Run in the folder `out`, and write the facts of this run beside its results."""
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            return self._carry_out(config, out, ladder)

    def carry_out_once(self, config: Config, out: Path, ladder: Path) -> Done:
        """The same, unless the folder holds what this would give, from an earlier time."""
        out.mkdir(parents=True, exist_ok=True)
        scripts = Path(self.run.__code__.co_filename).parent
        with locked(out):
            asked = outcome.fingerprint(config, scripts, [ladder / name for name in self.reads])
            finished, objective = outcome.is_finished(out, asked)
            if finished:
                print(f"finished before: {out}", flush=True)
                return Done(objective=objective)
            done = self._carry_out(config, out, ladder)
            outcome.finish(out, asked, done.objective)
        return done

    def _carry_out(self, config: Config, out: Path, ladder: Path) -> Done:
        started = time.perf_counter()
        kernels.set_threads(config.runtime.threads)
        with warnings.catch_warnings():
            # A loss that diverges is reported in a line of its own, which names the step.
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="lmladder")
            done = self.run(config, out, ladder)
        _write_facts(out, time.perf_counter() - started, done.tokens_per_second)
        return done


def stage(*reads: str) -> Callable[[Run], Stage]:
    """Make a function a stage that reads the results of these others."""
    return functools.partial(Stage, reads=reads)


class Sweep(Callback):
    """Where a sweep writes, and what had failed there before it: Hydra tells, the door asks."""

    folder: ClassVar[Path | None] = None
    before: ClassVar[list[outcome.Failure]] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        Sweep.folder = Path(config.hydra.sweep.dir)
        Sweep.before = outcome.failures(Sweep.folder)


def _main(program: Stage) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, not to Hydra's own report
    begun = False

    @functools.wraps(program.run)
    def task(node: DictConfig) -> float | None:
        nonlocal begun
        begun = True
        out = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            with outcome.attempt(out):
                return program.carry_out_once(typed(node), out, OUTPUTS).objective
        try:
            return program.carry_out(typed(node), out, OUTPUTS).objective
        except LadderError as error:
            _fail(error)  # here, before Hydra adds lines of its own

    about = (sys.modules[program.run.__module__].__doc__ or "").strip()
    OmegaConf.register_new_resolver("stage", lambda: about)  # in --help
    try:
        hydra.main(version_base="1.3", config_path="../conf", config_name="config")(task)()
    except KeyboardInterrupt as interrupt:
        print(
            "interrupted; a run in the same folder goes on from its last checkpoint",
            file=sys.stderr,
        )
        sys.exit(exit_status(interrupt))
    except Exception as error:
        _report_failures()  # where jobs failed, they say more than what a launcher made of it
        if (explained := _explained(error, begun)) is None:
            raise
        _fail(explained)
    _report_failures()


def _report_failures() -> None:
    """End the process if jobs of the sweep have failed: a line for each."""
    if Sweep.folder is None:
        return
    failed = [each for each in outcome.failures(Sweep.folder) if each not in Sweep.before]
    if not failed:
        return
    for each in failed:
        print(f"error: {each.folder}: {each.reason}", file=sys.stderr)
    jobs = "1 job" if len(failed) == 1 else f"{len(failed)} jobs"
    print(
        f"error: {jobs} of the sweep failed; the same command does what is not finished",
        file=sys.stderr,
    )
    sys.exit(min(each.exit_status for each in failed))


def _explained(error: Exception, begun: bool) -> LadderError | None:
    """The failure that one line explains; None for our own mistakes."""
    if isinstance(error, LadderError):
        return error
    # An OSError without a number is OmegaConf's, for what is no mapping.
    nameless = isinstance(error, OSError) and error.errno is None
    if not begun and (nameless or isinstance(error, CONFIGURATION_ERRORS)):
        for name, extra in EXTRAS.items():
            if f"'{name}'" in str(error):
                return InputError(f"{name} is not installed; run: pip install -e '.[{extra}]'")
        if isinstance(error.__cause__, OSError):  # Hydra could not open its log
            return cannot_write(Path(error.__cause__.filename or ""), error.__cause__)
        return InputError(f"configuration: {one_line(error)}")
    if isinstance(error, OSError) and error.filename and not begun:
        return cannot_write(Path(error.filename), error)
    if isinstance(error, OSError | MemoryError):  # such as a folder that Hydra may not make
        return RunError(str(error) or "out of memory")
    if not begun and Sweep.folder is not None:  # a launcher's, as where there is no Slurm
        return RunError(f"the sweep could not be run: {one_line(error)}")
    return None


def _fail(error: LadderError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


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
    write_json(out / ENVIRONMENT, environment.describe())


def data_settings(config: Config) -> dict[str, Any]:
    """What the prepared text depends on, as corpus.json keeps it."""
    settings = {"data": asdict(config.data), "tokenizer": asdict(config.tokenizer)}
    del settings["data"]["prompt"]
    return settings
