"""Sweeps: the folder of each job, what is run there, and the report of the jobs that failed.

A sweep's folder is named after the overrides that all jobs share, a job's after those that differ.
"""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lmladder.config.composing import register_resolver, validated
from lmladder.experiments import jobs
from lmladder.pipeline.running import Body, run_as_job
from lmladder.system.errors import InputError, LadderError
from lmladder.system.locks import locked
from lmladder.system.sealing import sha256_of_json

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

OUTPUTS = Path("outputs")
REPEAT = "repeat the command to run the unfinished jobs"
UNNAMED = ("seed", "runtime.threads")  # the seed is a folder of its own
# Else submitit and sacct print a warning each at each poll of a Slurm cluster without accounting.
os.environ.setdefault("SUBMITIT_LOG_LEVEL", "ERROR")
WITHOUT_ERRORS = ("sh", "-c", 'exec "$@" 2> /dev/null', "sh")
MAX_NAME = 80  # characters of a name, without its digest
VALUE = re.compile(r"\+*(seed|\w+\.[^@/=]*)=")  # an override of a value, not of a choice


def folders(given: Iterable[str], stage: str) -> list[str]:
    """Return the settings of Hydra that name the folders of a sweep and of its jobs.

    Parameters
    ----------
    given : the arguments of the program
    """
    overrides = [each for each in given if "=" in each and not each.startswith("-")]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException:  # Hydra reports it later
        parsed = []
    named = [*zip(overrides, parsed, strict=False)]
    swept = {each.key_or_group for _, each in named if each.is_sweep_override()}
    shared = {
        text: each.key_or_group
        for text, each in named
        if not each.is_hydra_override() and each.key_or_group not in {*swept, *UNNAMED}
    }
    keys = ",".join(sorted({*UNNAMED, *shared.values()}))
    names = [f"hydra.job.config.override_dirname.exclude_keys=[{keys}]"]
    if not any(each.startswith("hydra.sweep.dir=") for each in overrides):
        names.append(f"hydra.sweep.dir='{sweep_folder(shared, stage)}'")
    return names


def sweep_folder(shared: Iterable[str], stage: str) -> Path:
    """Return the folder of a sweep whose jobs share these overrides."""
    return OUTPUTS / "sweeps" / stage / short(",".join(sorted(shared)))


def short(overrides: Any) -> str:
    """Return overrides as a name of a folder: a digest replaces what is long or is no name."""
    name = str(overrides)
    plain = re.sub(r"([^\w.,=+@:\[\]{}-]|\.\.)+", "_", name, flags=re.ASCII)
    if plain == name and len(name) <= MAX_NAME:
        return name
    return f"{plain[:MAX_NAME]}~{sha256_of_json(name)[:8]}"


# Here, so that a process that a launcher starts has it, too.
register_resolver("short", short, replace=True)


def check_choices(sweeper: Sweeper, batch: Sequence[Sequence[str]]) -> None:
    """Compose one job for each combination of choices; Hydra composes every job, which is slow.

    Whether a job can be composed does not depend on the values of its settings.
    """
    distinct = {tuple(each for each in job if not VALUE.match(each)): job for job in batch}
    print(f"checking the choices of {len(batch)} jobs", flush=True)
    validate_batch(sweeper, list(distinct.values()))


validate_batch = Sweeper.validate_batch_is_legal
Sweeper.validate_batch_is_legal = check_choices  # type: ignore[assignment, method-assign]


def run_job(body: Body, node: DictConfig, out: Path, sweep: Path) -> float | None:
    """Run a job of a sweep in the folder `out`, unless it is finished; return its objective.

    A job that fails leaves failed.json, and the sweep continues.

    Raises
    ------
    LadderError
        If nothing can be written to the folder, or it is in use or not in that of the sweep.
    """
    if not out.resolve().is_relative_to(sweep.resolve()):
        raise InputError(f"hydra.sweep.subdir: {out} is not below hydra.sweep.dir={sweep}")
    with locked(out):
        return jobs.attempt(out, lambda: run_as_job(body, validated(node), out, OUTPUTS))


def _silence_polls() -> None:
    from submitit.slurm.slurm import SlurmInfoWatcher  # of the extra `slurm`

    watcher: Any = SlurmInfoWatcher
    command = watcher._make_command
    watcher._make_command = lambda self: (poll := command(self)) and [*WITHOUT_ERRORS, *poll]


class Sweep(Callback):
    """The sweep that this process has started; Hydra calls it by conf/config.yaml.

    Attributes
    ----------
    folder : of the results; None if there is no sweep
    before : the failures of earlier sweeps in this folder
    """

    folder: ClassVar[Path | None] = None
    before: ClassVar[dict[Path, Any]] = {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        Sweep.folder = Path(config.hydra.sweep.dir)
        Sweep.before = jobs.failures(Sweep.folder)
        if config.hydra.launcher._target_.endswith(".SlurmLauncher"):
            _silence_polls()

    @classmethod
    def exit_if_failed(cls, error: LadderError | None = None) -> None:
        """Print a line for each failed job, and for `error` of the launcher; exit if any failed."""
        found = jobs.failures(cls.folder) if cls.folder else {}
        failed = {job: each for job, each in found.items() if cls.before.get(job) != each}
        if failed:
            reasons = [f"{job}: {each.get('reason', 'damaged')}" for job, each in failed.items()]
            number = "1 job" if len(failed) == 1 else f"{len(failed)} jobs"
            summary = f"{number} of the sweep failed; {REPEAT}"
            for line in (*reasons, *([error] if error else []), summary):
                print(f"error: {line}", file=sys.stderr)
            sys.exit(min(each.get("exit_status", 1) for each in failed.values()))
