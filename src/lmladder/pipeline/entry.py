"""The entry point of all stages: composes the configuration with Hydra and reports failures.

`python stages/x.py -cn pipeline` reads params.yaml for DVC; `python stages/x.py [-m] overrides`
composes conf/ for people. Invalid input is reported in one line with exit status 2, a failed run in
one line with status 1. A sweep continues after a failed job, and does not repeat finished jobs.
`--help` begins with the docstring of the script.
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
from lmladder.system.files import cannot_write
from lmladder.system.interrupts import exit_status, raise_interrupts
from lmladder.system.progress import ignore_closed_outputs

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

OUTPUTS = Path("outputs")
REPEAT = "repeat the command to run the unfinished jobs"

EXTRAS = {  # the extra of pyproject.toml that installs each launcher and sweeper
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}


class Sweep(Callback):
    """The sweep that this process has started: its folder and its jobs.

    Attributes
    ----------
    folder : of the results; None if there is no sweep
    before : the failures of earlier sweeps in this folder
    killed : the jobs whose processes were found dead first; joblib then kills those of all others
    """

    folder: ClassVar[Path | None] = None
    before: ClassVar[list[outcome.Failure]] = []
    killed: ClassVar[list[Path]] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        Sweep.folder = Path(config.hydra.sweep.dir)
        Sweep.before = outcome.failures(Sweep.folder)
        if "joblib" in config.hydra.launcher._target_:
            signal.signal(signal.SIGCHLD, lambda number, frame: Sweep.note_killed())

    @classmethod
    def failures(cls) -> list[outcome.Failure]:
        """Return the jobs of this sweep that have failed or are not finished."""
        found = outcome.failures(cls.folder) if cls.folder else []
        return [each for each in found if each not in cls.before]

    @classmethod
    def note_killed(cls) -> None:
        """Record the jobs whose processes have ended, unless some are already recorded."""
        with suppress(OSError):  # a signal handler must not fail
            cls.killed = cls.killed or [each.folder for each in cls.failures() if each.is_gone()]


def run(script: str, about: str | None) -> None:
    """Run a stage as a program.

    Parameters
    ----------
    script : the file of the program, named after the stage, in a folder next to conf/
    about : the beginning of --help
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of reporting them
    path = Path(script).resolve()
    sys.argv[1:] = [*arguments(sys.argv[1:]), f"hydra.job.name={path.stem}"]
    ignore_closed_outputs()
    raise_interrupts()
    started = time.time()
    stage, out = STAGES[path.stem], None

    def task(node: DictConfig) -> float | None:
        nonlocal out
        ignore_closed_outputs()  # a launcher may have started another process
        out = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            try:
                with outcome.attempt(out):
                    return stage.run_if_stale(typed(node), out, OUTPUTS).objective
            except Exception:
                if not (out / outcome.FAILED).exists():  # it could not be written
                    raise
                return None  # the sweep continues with the next job
        try:
            return stage.run(typed(node), out, OUTPUTS).objective
        except LadderError as error:
            _fail(error)  # here, because Hydra would print another line

    OmegaConf.register_new_resolver("stage", lambda: (about or "").strip())  # both in --help
    OmegaConf.register_new_resolver(
        "settings", lambda *, _root_: describe(_root_).replace("$", "$$")
    )
    conf = str(path.parents[1] / "conf")
    try:
        hydra.main(version_base="1.3", config_path=conf, config_name="config")(task)()
    except KeyboardInterrupt as interrupt:
        print(f"interrupted{_how_to_continue(out, started)}", file=sys.stderr)
        sys.exit(exit_status(interrupt))
    except Exception as error:
        _report_failures()  # the errors of jobs explain more than that of the launcher
        if (explained := _explained(error, started=out is not None)) is None:
            raise
        _fail(explained)
    _report_failures()


def _how_to_continue(out: Path | None, started: float) -> str:
    """Return the end of the message about an interruption at a time after `started`."""
    if Sweep.folder is not None:
        return f"; {REPEAT}"
    checkpoints = [] if out is None else out.rglob("unfinished.safetensors")
    if any(each.stat().st_mtime >= started for each in checkpoints):
        return f"; a run in {out} continues from its last checkpoint"
    return ""


def _report_failures() -> None:
    """Print a line for each failed job of the sweep and exit, if there are any."""
    if not (failed := Sweep.failures()):
        return
    for each in failed:
        reason = each.reason
        if reason == outcome.KILLED and Sweep.killed and each.folder not in Sweep.killed:
            reason = "it was stopped because the process of another job was killed"
        print(f"error: {each.folder}: {reason}", file=sys.stderr)
    jobs = "1 job" if len(failed) == 1 else f"{len(failed)} jobs"
    print(f"error: {jobs} of the sweep failed; {REPEAT}", file=sys.stderr)
    sys.exit(min(each.exit_status for each in failed))


def _explained(error: Exception, started: bool) -> LadderError | None:
    """Return the error to report in one line; None for a mistake of this program.

    Parameters
    ----------
    started : whether the stage was started; before, errors are those of the configuration
    """
    if isinstance(error, LadderError):
        return error
    # OmegaConf raises an OSError without a number for a file that is not a mapping.
    unnumbered = isinstance(error, OSError) and error.errno is None
    if not started and (unnumbered or isinstance(error, CONFIGURATION_ERRORS)):
        for name, extra in EXTRAS.items():
            if f"'{name}'" in str(error):
                return InputError(f"{name} is not installed; run: pip install -e '.[{extra}]'")
        if isinstance(error.__cause__, OSError):  # Hydra cannot open its log
            return cannot_write(Path(error.__cause__.filename or ""), error.__cause__)
        return InputError(f"configuration: {one_line(error)}")
    if isinstance(error, OSError):  # for example a folder that Hydra cannot create
        return cannot_write(Path(error.filename or _partly_written()), error)
    if not started and Sweep.folder is not None:  # a launcher fails, for example without Slurm
        return RunError(f"the sweep could not be run: {one_line(error)}")
    return None


def _partly_written() -> Path:
    """Remove and return the file that Hydra could not write, which its error does not name."""
    path = (Sweep.folder or OUTPUTS) / "multirun.yaml"
    if path.exists() and not path.stat().st_size:
        path.unlink()
        return path
    return path.parent


def _fail(error: LadderError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_status)
