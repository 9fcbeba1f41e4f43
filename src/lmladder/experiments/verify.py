"""Verification that a run reproduces: its results are computed again and compared.

The files beside the checkpoint are computed from the checkpoint. Then the run is trained again, and
the histories are compared during training, which ends at the first difference. On the same machine,
with the same versions and code, all bits must be equal. Otherwise rounding may differ, and only
losses are compared, within a tolerance.
"""

import filecmp
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from lmladder import kernels
from lmladder.data import Prepared
from lmladder.data.batches import validation_sequences
from lmladder.evaluation import write_scores
from lmladder.experiments.jobs import MACHINE, read_facts, run_digest
from lmladder.models.contract import own_tokenizer
from lmladder.models.registry import KINDS
from lmladder.system import environment
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError, RunError, printable
from lmladder.system.files import atomic_write
from lmladder.system.settings import dotted, import_object
from lmladder.training.checkpoint import BEST, LATEST, METRICS, REMEDY, Checkpoint
from lmladder.training.fit import begin, write_metrics
from lmladder.training.loop import (
    HISTORY,
    UNFINISHED,
    history_csv,
    read_trained,
    sequence_nll,
    train,
)

OUTPUTS = Path("outputs")  # of the pipeline
LOSSES, EXACT = ("train_loss", "val_loss"), ("step", "tokens")  # columns of a history
UNKNOWN_CODE = "code (unknown)"  # does not excuse differences: the record may have been removed


@dataclass(frozen=True)
class RecordedRun:
    """A finished run, and the text on which it was trained.

    Attributes
    ----------
    path : a folder or a file
    folder : `path`, or the folder of the file
    checkpoints : the file, or the latest and the best of the folder
    settings : of the rung
    stage : name of the stage that fitted it; empty if it is unknown
    """

    path: Path
    folder: Path
    checkpoints: tuple[Checkpoint, ...]
    settings: Any
    stage: str
    prepared: Prepared


@dataclass(frozen=True)
class Difference:
    """A difference between a run and its repetition.

    Attributes
    ----------
    step : at which it occurs
    name : of the column of the history, or of the array
    recorded, again : the two values; None for arrays
    """

    step: int
    name: str
    recorded: Any = None
    again: Any = None


@dataclass(frozen=True)
class Verdict:
    """The result of a verification.

    Attributes
    ----------
    reproduces : whether all bits are equal, or on another machine all losses within the tolerance
    step : up to which the run was repeated
    tolerance : relative tolerance of losses
    compared : the files beside the checkpoint that were compared
    difference : the first, or if the run does not reproduce, the first beyond the tolerance; None
        if all bits are equal
    elsewhere : differences in environment and code: code, packages.numpy, processor.name, ...
    """

    path: str
    reproduces: bool
    step: int
    tolerance: float
    compared: tuple[str, ...]
    difference: Difference | None
    elsewhere: tuple[str, ...]

    def __str__(self) -> str:
        """Return the verdict in one line, and differences in the environment in a second line."""
        found = self.difference
        if found is None:
            until = f" to step {self.step}" if self.step else ""
            text = f"bit-identical{until}: {', '.join(('checkpoint', *self.compared))}"
        else:
            beyond = f" beyond {self.tolerance:g}" if self.tolerance else ""
            text = f"first difference{'' if self.reproduces else beyond} at step {found.step} in "
            text += found.name
            if found.recorded is not None:
                text += f": {found.again}, recorded {found.recorded}"
            if self.reproduces:
                text = f"losses equal within {self.tolerance:g} to step {self.step}; {text}"
        more = f"\n  differs from here: {', '.join(self.elsewhere)}" if self.elsewhere else ""
        return printable(f"{self.path}: {text}") + more


class _EnoughError(Exception):
    """Ends a repetition whose result is known."""


def open_run(path: Path, directory: Path | None = None) -> RecordedRun:
    """Read a finished run, and its text.

    Parameters
    ----------
    directory : of the text; by default that of the ladder of the run, or else of the pipeline

    Raises
    ------
    InputError
        If the run is missing, unfinished, damaged, of another text or was not trained by lmladder.
    """
    first = path / LATEST if path.is_dir() else path
    checkpoint = Checkpoint.load(first)
    best = [Checkpoint.load(path / BEST)] if (path / BEST).exists() else []
    if (path / UNFINISHED).exists() or checkpoint.trained_by:
        raise InputError(f"{path} is of a run that has not finished; run its command again")
    models = checkpoint.restore_models()  # checks the sizes of the arrays
    settings = KINDS.read(checkpoint.config, str(path))
    if checkpoint.step == 0 and not _fits_at_once(checkpoint):
        raise InputError(f"{path} is of step 0: its model was not trained here")
    stage = read_trained(first.parent).get("stage", "")
    for each in (checkpoint, *best):
        if reason := _damage(each, checkpoint):
            raise InputError(f"{path} is damaged: {reason}; {REMEDY}")
    if directory is None:
        beside = first.parents[1] / "prepare"
        directory = beside if beside.is_dir() else OUTPUTS / "prepare"
    prepared = Prepared.open(directory)
    if checkpoint.data_digest != prepared.digest:
        raise InputError(
            f"{path} was trained on a text with digest {checkpoint.data_digest[:12]}, but "
            f"{directory} has {prepared.digest[:12]}; name the folder of that text with "
            "--prepared, or make it again with `python stages/compose.py` and its settings, then "
            "`dvc repro prepare`"
        )
    of_text = not any(own_tokenizer(each) for each in models.values())
    if of_text and checkpoint.tokenizer != prepared.tokenizer.to_json():
        raise InputError(f"{path} is damaged: its tokenizer is not that of its text; {REMEDY}")
    return RecordedRun(path, first.parent, (checkpoint, *best), settings, stage, prepared)


def _fits_at_once(checkpoint: Checkpoint) -> bool:
    return KINDS[checkpoint.kind].fit.again is not None


def _damage(checkpoint: Checkpoint, latest: Checkpoint) -> str:
    """Return why a checkpoint is not that of a finished run; empty if it is."""
    rows = checkpoint.history
    if checkpoint.identity != latest.identity or rows != latest.history[: len(rows)]:
        return f"{LATEST} and {BEST} are of two runs"
    if not _fits_at_once(checkpoint) and (not rows or rows[-1]["step"] != checkpoint.step):
        return f"its history does not end at step {checkpoint.step}"
    return ""


def verify_run(run: RecordedRun, tolerance: float) -> Verdict:
    """Repeat a run in a temporary folder, and compare.

    Parameters
    ----------
    tolerance : relative, of losses; used if machine, versions or code differ

    Raises
    ------
    InputError
        If a file beside the checkpoint is not what the checkpoint gives, or the initial weights
        are not available.
    RunError
        If the repetition fails, such as for a loss that is not finite.
    """
    checkpoint = run.checkpoints[0]
    trained_by = read_trained(run.folder)
    known = trained_by.get("kernels") in kernels.CHOICES
    kernels.select(trained_by["kernels"] if known else "numba")
    elsewhere = tuple(_elsewhere(run, trained_by.get("code")))
    fit = KINDS[checkpoint.kind].fit
    if fit.deterministic or not set(elsewhere) - {UNKNOWN_CODE}:
        tolerance = 0.0
    with tempfile.TemporaryDirectory(prefix="lmladder-verify-") as name:
        compared = _require_results(run, Path(name))
        if fit.again is not None:
            again = import_object(fit.again)(checkpoint, run.settings, run.prepared)
            step, differences = 0, list(_differences(run, again))[:1]
        else:
            step, differences = _repeat(run, Path(name), tolerance)
    found = _first_beyond(differences, tolerance)
    first = found or next(iter(differences), None)
    return Verdict(str(run.path), found is None, step, tolerance, compared, first, elsewhere)


def _elsewhere(run: RecordedRun, code: str | None) -> Iterator[str]:
    """Yield the differences in code and environment from those of the run."""
    first = run.checkpoints[0]
    by_steps = not _fits_at_once(first)
    if by_steps and not (code and run.stage):
        yield UNKNOWN_CODE
    elif by_steps and code != run_digest(run.stage, first.kind):
        yield "code"
    there = dotted(read_facts(run.folder / MACHINE).get("environment", {}))
    if not there:
        yield "machine and versions (unknown)"
        return
    here = dotted(environment.describe(kernels.describe()))
    yield from (
        printable(key)
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and key != "threads"  # which do not change results
    )


def _require_results(run: RecordedRun, folder: Path) -> tuple[str, ...]:
    """Compute the files beside a checkpoint in `folder`; return the names of those compared.

    Raises
    ------
    InputError
        If one differs.
    """
    checkpoint, prepared = run.checkpoints[0], run.prepared
    rung = read_facts(run.path / METRICS).get("rung", "")  # a checkpoint does not contain it
    models: dict[str, Any] = {**checkpoint.restore_models()}
    if _fits_at_once(checkpoint):
        with redirect_stdout(sys.stderr):
            write_scores(folder, checkpoint.kind, rung, models, prepared, run.settings)
    else:
        (model,) = models.values()
        write_metrics(folder, checkpoint, model, rung)
        table = history_csv(checkpoint, model, run.settings.training)
        atomic_write(folder / HISTORY, table.encode())
    names = []
    for path in sorted(folder.iterdir()):
        theirs = run.path / path.name
        if theirs.exists():
            names.append(path.name)
            if not filecmp.cmp(path, theirs, shallow=False):
                raise InputError(f"{theirs} is not what {run.path / LATEST} gives: it was changed")
    return tuple(names)


def _repeat(run: RecordedRun, folder: Path, tolerance: float) -> tuple[int, list[Difference]]:
    """Train again in `folder`; return the last step and all differences.

    Training ends with the run, or at the first difference beyond the tolerance.
    """
    checkpoint = run.checkpoints[0]
    origin = replace(checkpoint, step=0, history=(), model={}, optimizer={})
    code = run_digest(run.stage, checkpoint.kind) if run.stage else ""
    again = begin(origin, run.settings, run.prepared, folder, stage=run.stage, code=code)
    recorded, found = checkpoint.init_digest, again.origin.init_digest
    if recorded != found:
        given = f"{checkpoint.name}.init_from={run.settings.init_from}"
        named = f"{given} has sha256 {found and found[:12]}"
        raise InputError(f"{named}, but {run.path} began from {recorded and recorded[:12]}")
    step, differences = 0, list[Difference]()

    def watch(state: Checkpoint) -> None:
        nonlocal step
        step = state.step
        differences.extend(_differences(run, state))
        if step >= checkpoint.step or _first_beyond(differences, tolerance):
            raise _EnoughError

    try:
        # Progress goes to standard error, apart from verdicts; divergence has its own message.
        with redirect_stdout(sys.stderr), catch_warnings():
            simplefilter("ignore", RuntimeWarning)
            end, _ = train(again, watch)
        return end.step, [Difference(end.step, "step", checkpoint.step, end.step)]
    except _EnoughError:
        pass
    except RunError as error:  # without the advice, which names a temporary file
        reason = str(error).partition("; ")[0]
        raise RunError(f"{run.path} cannot be trained again: {reason}") from error
    if differences and not _first_beyond(differences, tolerance):
        # Training reached other weights: the recorded weights must have the recorded loss.
        training = run.settings.training
        rows = validation_sequences(again.val, training.sequence_length, training.evaluate_tokens)
        again.model.load(checkpoint.model)
        loss = float(sequence_nll(again.model, training, rows).mean())
        differences.append(Difference(step, LOSSES[1], checkpoint.history[-1][LOSSES[1]], loss))
    return step, differences


def _differences(run: RecordedRun, again: Checkpoint) -> Iterator[Difference]:
    """Yield the differences between a state of the repetition and the record of its step."""
    latest = run.checkpoints[0]
    recorded = latest.history[len(again.history) - 1] if again.history else {}
    for name, value in recorded.items():
        if value != (now := again.history[-1].get(name)):
            yield Difference(again.step, name, value, now)
    for each in run.checkpoints:
        if each.step == again.step:
            for part in ("model", "optimizer"):
                ours, theirs = getattr(each, part), getattr(again, part)
                for name in sorted(ours.keys() | theirs.keys()):
                    if _bits(ours.get(name)) != _bits(theirs.get(name)):
                        yield Difference(again.step, f"{part}.{name}")


def _bits(array: Array | None) -> Any:
    return None if array is None else (array.dtype, array.shape, array.tobytes())


def _first_beyond(differences: list[Difference], tolerance: float) -> Difference | None:
    """Return the first difference that other rounding does not explain.

    Rounding errors grow without bound in all values but the losses.
    """
    for each in differences:
        values = each.recorded, each.again
        if each.name in LOSSES and all(isinstance(value, float) for value in values):
            if not math.isclose(*values, rel_tol=tolerance):
                return each
        elif tolerance == 0 or each.name in (*LOSSES, *EXACT):
            return each
    return None
