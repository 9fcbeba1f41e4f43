"""The entry point of all stages: composes the configuration with Hydra and reports failures.

`python stages/x.py -cn pipeline` reads params.yaml for DVC; `python stages/x.py [-m] overrides`
composes conf/ for people. Invalid input is reported in one line with exit status 2, a failed run in
one line with status 1.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lmladder.config.composing import (
    CONFIGURATION_ERRORS,
    MAIN,
    arguments,
    describe,
    one_line,
    register_resolver,
    validated,
)
from lmladder.pipeline.running import Body, run
from lmladder.pipeline.sweeps import OUTPUTS, REPEAT, Sweep, folders, run_job
from lmladder.system.errors import STATUS_FILE, InputError, LadderError, RunError
from lmladder.system.files import atomic_write, cannot_write, work_folder
from lmladder.system.interrupts import exit_status, raise_interrupts
from lmladder.training.loop import UNFINISHED

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

EXTRAS = {  # the extra of pyproject.toml that installs each launcher and sweeper
    "hydra/launcher/joblib": "sweep",
    "hydra/launcher/submitit_slurm": "slurm",
    "hydra/launcher/ray": "ray",
    "hydra/sweeper/optuna": "optuna",
}


def stage(body: Body) -> Callable[[], None]:
    """Return the program of a stage; --help begins with the docstring of its script.

    Parameters
    ----------
    body : named after the stage, as its script is, which is in a folder next to conf/
    """

    @functools.wraps(body)
    def program() -> None:
        script = Path(sys.argv[0]).resolve()
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of reporting them
        given = arguments(sys.argv[1:])
        # Python 3.14 checks help texts, of which one of Hydra 1.3 is not a string.
        argparse.ArgumentParser._check_help = lambda *_: None  # type: ignore[attr-defined]
        sys.argv[1:] = [*given, *folders(given, script.stem), f"hydra.job.name={script.stem}"]
        raise_interrupts()
        folder: Path | None = None

        def task(node: DictConfig) -> float | None:
            nonlocal folder
            _note(RunError.exit_status)  # of a process that is killed
            composed = HydraConfig.get()
            output = Path(os.path.relpath(composed.runtime.output_dir))
            try:
                if composed.mode == RunMode.MULTIRUN:
                    return run_job(body, node, output, Path(composed.sweep.dir))
                folder = output
                objective = run(body, validated(node), output, OUTPUTS)
                _note(0)
                return objective
            except LadderError as error:
                _fail(error)  # here, because Hydra would print another line

        about = (sys.modules["__main__"].__doc__ or "").strip()
        asked = not {"--help", "-h"}.isdisjoint(given)  # Hydra resolves both always
        register_resolver("stage", lambda: about)
        register_resolver(
            "settings", lambda *, _root_: describe(_root_).replace("$", "$$") if asked else ""
        )
        conf = str(script.parents[1] / "conf")
        try:
            hydra.main(config_path=conf, config_name="config", **MAIN)(task)()
        except KeyboardInterrupt as interrupt:
            print(f"interrupted{_how_to_continue(folder)}", file=sys.stderr)
            sys.exit(exit_status(interrupt))
        except MemoryError:
            _fail(RunError("out of memory"))
        except Exception as error:
            if folder is not None or (explained := _explained(error)) is None:
                raise
            Sweep.exit_if_failed(explained)
            _fail(explained)
        Sweep.exit_if_failed()

    return program


def _how_to_continue(folder: Path | None) -> str:
    """Return the end of the message about an interruption."""
    if Sweep.folder is not None:
        return f"; {REPEAT}"
    if folder is not None and (work_folder(folder) / UNFINISHED).exists():
        return f"; the run in {folder} continues from its last checkpoint"
    return ""


def _explained(error: Exception) -> LadderError | None:
    """Return the error to report in one line; None for a mistake of this program."""
    if isinstance(error, LadderError):
        return error
    # Hydra cannot open its log, or create a folder.
    system = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(system, OSError) and system.errno is not None:
        return cannot_write(Path(system.filename or Sweep.folder or OUTPUTS), system)
    for name, extra in EXTRAS.items():
        if f"'{name}'" in str(error):
            return InputError(f"{name} is not installed; run: pip install -e '.[{extra}]'")
    if isinstance(error, (*CONFIGURATION_ERRORS, OSError)):  # OmegaConf: an OSError without number
        return InputError(f"configuration: {one_line(error)}")
    if Sweep.folder is not None:  # a launcher fails, for example without Slurm
        return RunError(f"the sweep could not be run: {one_line(error)}")
    return None


def _fail(error: LadderError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    _note(error.exit_status)
    sys.exit(error.exit_status)


def _note(status: int) -> None:
    """Write the exit status for `lmladder run`, as DVC has one of its own."""
    if file := os.environ.get(STATUS_FILE):
        atomic_write(Path(file), str(status).encode())
