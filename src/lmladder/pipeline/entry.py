"""The entry point of all stages: Hydra in front of them, and how they fail.

`python stages/x.py -cn pipeline` reads params.yaml for DVC, `python stages/x.py [-m] overrides`
composes conf/ for people. A mistake in the input ends in one line and exit status 2, a run that
fails in one line and status 1. A sweep goes on after a job that fails, and does not run again what
it has finished. `--help` begins with the script's docstring.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from lmladder.config import CONFIGURATION_ERRORS, arguments, describe, one_line, typed
from lmladder.experiments import jobs as outcome
from lmladder.pipeline.stages import STAGES
from lmladder.system.errors import InputError, LadderError, RunError
from lmladder.system.files import atomic_write, cannot_write
from lmladder.system.interrupts import exit_status, raise_interrupts
from lmladder.system.progress import outlive_readers

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

OUTPUTS = Path("outputs")
DVC_CONFIG = "pipeline"  # the configuration in conf/ by which DVC runs a stage
SETTINGS = ".hydra"  # in the folder of a run that DVC has not started

EXTRAS = {  # where the launchers and sweepers are that Hydra does not bring
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}


class Sweep(Callback):
    """The sweep that this process has started: where it writes, and what becomes of its jobs.

    Attributes
    ----------
    folder : None where there is no sweep
    before : what had failed in the folder already
    jobs : how many there are; None where a search chooses them one after another
    killed : the jobs whose process was the first to be killed, as far as that can be known: joblib
        then kills the processes of all other jobs
    """

    folder: ClassVar[Path | None] = None
    before: ClassVar[list[outcome.Failure]] = []
    jobs: ClassVar[int | None] = None
    killed: ClassVar[list[Path]] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        Sweep.folder = Path(config.hydra.sweep.dir)
        Sweep.before = outcome.failures(Sweep.folder)
        Sweep.jobs = _count_jobs(config)
        if "joblib" in config.hydra.launcher._target_:
            signal.signal(signal.SIGCHLD, lambda number, frame: Sweep.note_killed())

    @classmethod
    def failures(cls) -> list[outcome.Failure]:
        """What has failed in this sweep, or is not finished yet."""
        found = outcome.failures(cls.folder) if cls.folder else []
        return [each for each in found if each not in cls.before]

    @classmethod
    def note_killed(cls) -> None:
        """Note the jobs whose process is gone, unless such jobs are known already."""
        with suppress(OSError):  # it may not fail: the sweep is in the midst of something else
            cls.killed = cls.killed or [each.folder for each in cls.failures() if each.is_gone()]

    @classmethod
    def not_started(cls) -> int:
        """How many jobs have not begun: each writes its settings first."""
        if cls.folder is None or cls.jobs is None:
            return 0
        begun = (cls.folder / "multirun.yaml").stat().st_mtime
        settings = cls.folder.rglob(f"{SETTINGS}/config.yaml")
        return cls.jobs - sum(each.stat().st_mtime >= begun for each in settings)


def _count_jobs(config: DictConfig) -> int | None:
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(BasicSweeper.__name__):
        return None
    swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    try:
        overrides = OverridesParser.create().parse_overrides([*swept, *config.hydra.overrides.task])
        return sum(map(len, BasicSweeper.split_arguments(overrides, None)))
    except CONFIGURATION_ERRORS:  # such as a glob(), which only Hydra can resolve
        return None


def main(name: str, script: str, about: str | None) -> None:
    """Run a stage as a program.

    Parameters
    ----------
    name : of the stage
    script : its file, beside whose folder conf/ is
    about : what it does, for --help
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, not to Hydra's own report
    sys.argv[1:] = [*arguments(sys.argv[1:]), f"hydra.job.name={name}"]
    outlive_readers()
    raise_interrupts()
    started = time.time()
    stage, out = STAGES[name], None

    def task(node: DictConfig) -> float | None:
        nonlocal out
        outlive_readers()  # this may be another process
        out = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            try:
                with outcome.attempt(out):
                    _write_settings(node, out)
                    return stage.run_if_stale(typed(node), out, OUTPUTS).objective
            except Exception:
                if not (out / outcome.FAILED).exists():  # no room for it
                    raise
                return None  # the next job is to run all the same
        try:
            if HydraConfig.get().job.config_name != DVC_CONFIG:
                _write_settings(node, out)
            return stage.run(typed(node), out, OUTPUTS).objective
        except LadderError as error:
            _fail(error)  # here, before Hydra adds lines of its own

    OmegaConf.register_new_resolver("stage", lambda: (about or "").strip())  # both in --help
    OmegaConf.register_new_resolver(
        "settings", lambda *, _root_: describe(_root_).replace("$", "$$")
    )
    conf = Path(script).resolve().parents[1] / "conf"
    try:
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(task)()
    except KeyboardInterrupt as interrupt:
        print(f"interrupted{_continues(out, started)}", file=sys.stderr)
        sys.exit(exit_status(interrupt))
    except Exception as error:
        _report_failures()  # where jobs failed, they say more than what a launcher made of it
        if (explained := _explained(error, begun=out is not None)) is None:
            raise
        _fail(explained)
    _report_failures()


def _write_settings(node: DictConfig, out: Path) -> None:
    """Write what Hydra would write before the run, which it does not do atomically."""
    folder = out / SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    whole = OmegaConf.create({"hydra": HydraConfig.get()})
    overrides = HydraConfig.get().overrides.task
    for name, part in (("overrides", overrides), ("hydra", whole), ("config", node)):
        atomic_write(folder / f"{name}.yaml", OmegaConf.to_yaml(part).encode())


def _continues(out: Path | None, started: float) -> str:
    """What an interrupted run or sweep may promise, for the end of the line that reports it."""
    if Sweep.folder is not None:
        return "; the same command does what is not finished"
    kept = [] if out is None else out.rglob("unfinished.safetensors")
    if any(each.stat().st_mtime >= started for each in kept):
        return f"; a run in {out} continues from its last checkpoint"
    return ""


def _report_failures() -> None:
    """End the process if jobs of the sweep have failed: a line for each."""
    if not (failed := Sweep.failures()):
        return
    for each in failed:
        reason = each.reason
        if reason == outcome.KILLED and Sweep.killed and each.folder not in Sweep.killed:
            reason = "it was stopped, as the process of another job was killed"
        print(f"error: {each.folder}: {reason}", file=sys.stderr)
    jobs = "1 job" if len(failed) == 1 else f"{len(failed)} jobs"
    others = f" and {count} did not start" if (count := Sweep.not_started()) else ""
    print(
        f"error: {jobs} of the sweep failed{others}; the same command does what is not finished",
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
    if isinstance(error, OSError):  # such as a folder that Hydra may not make
        return cannot_write(Path(error.filename or _half_written()), error)
    if not begun and Sweep.folder is not None:  # a launcher's, as where there is no Slurm
        return RunError(f"the sweep could not be run: {one_line(error)}")
    return None


def _half_written() -> Path:
    """The file that Hydra could not write, and did not name; it is removed."""
    path = (Sweep.folder or OUTPUTS) / "multirun.yaml"
    if path.exists() and not path.stat().st_size:
        path.unlink()
        return path
    return path.parent


def _fail(error: LadderError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_status)
