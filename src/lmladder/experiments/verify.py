"""Whether a run reproduces: its results are made again from its checkpoint, and compared.

First the files beside the checkpoint, from what it holds. Then the run is trained again, and the
histories are compared as they come, so that a run that differs is not trained to its end. On the
same machine, with the same versions and code, no bit may differ. Elsewhere sums may be rounded
otherwise: only losses are compared, within a tolerance.
"""

import filecmp
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from lmladder import kernels
from lmladder.data import Prepared
from lmladder.data.batches import validation_sequences
from lmladder.evaluation import write_scores
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.experiments.jobs import ENVIRONMENT, code_digest
from lmladder.models.registry import KINDS
from lmladder.system import environment
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError, RunError, printable
from lmladder.system.files import atomic_write
from lmladder.system.settings import dotted
from lmladder.training.checkpoint import BEST, LATEST, METRICS, REMEDY, Checkpoint
from lmladder.training.fit import begin, count, write_metrics
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
UNKNOWN_CODE = "code (unknown)"  # no reason for other roundings: the record may have been removed
SCORING = EvaluateSettings([], "latest", 0.0, 8192)  # on which no score of a count model depends


@dataclass(frozen=True)
class RecordedRun:
    """A finished run, and the text that it was trained on.

    Attributes
    ----------
    path : a folder or a file
    folder : that, or where the file is
    checkpoints : the file, or the latest and the best of the folder
    settings : of the rung
    stage : of dvc.yaml, which fitted it; empty if that is unknown
    """

    path: Path
    folder: Path
    checkpoints: tuple[Checkpoint, ...]
    settings: Any
    stage: str
    prepared: Prepared


@dataclass(frozen=True)
class Difference:
    """Between a run and its repetition.

    Attributes
    ----------
    step : at which
    name : of the column of the history, or of the array
    recorded, again : the two values; None for arrays
    """

    step: int
    name: str
    recorded: Any = None
    again: Any = None


@dataclass(frozen=True)
class Verdict:
    """The result of making a run again.

    Attributes
    ----------
    reproduces : whether no bit differs, or elsewhere no loss by more than the tolerance
    step : up to which the run was repeated
    tolerance : relative, that was granted
    compared : the files beside the checkpoint that were made again
    difference : the first, or where a run does not reproduce, the one that decides; None: no bit
    elsewhere : what differs from where the run was made: code, packages.numpy, processor.name, ...
    """

    path: str
    reproduces: bool
    step: int
    tolerance: float
    compared: tuple[str, ...]
    difference: Difference | None
    elsewhere: tuple[str, ...]

    def __str__(self) -> str:
        """Return the verdict in a line, and in a second one what differs elsewhere."""
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
    """Ends a repetition of which all is known."""


def open_run(path: Path, directory: Path | None = None) -> RecordedRun:
    """Read a finished run, and its text.

    Parameters
    ----------
    directory : of the text; by default that of the ladder of the run, or else of the pipeline

    Raises
    ------
    InputError
        If there is none, or it is unfinished, damaged, of another text or was not trained here.
    """
    first = path / LATEST if path.is_dir() else path
    checkpoint = Checkpoint.load(first)
    best = [Checkpoint.load(path / BEST)] if (path / BEST).exists() else []
    if (path / UNFINISHED).exists() or checkpoint.trained_by:
        raise InputError(f"{path} is of a run that has not finished; give its command again")
    checkpoint.restore_models()  # so that sizes are those of the arrays
    settings = KINDS.read(checkpoint.config, str(path))
    if checkpoint.step == 0 and not _is_counted(checkpoint):
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
            f"{directory} holds {prepared.digest[:12]}; name the folder of that text with "
            "--prepared, or make it again with `python stages/compose.py` and its settings, then "
            "`dvc repro prepare`"
        )
    if checkpoint.tokenizer != prepared.tokenizer.to_json():
        raise InputError(f"{path} is damaged: its tokenizer is not that of its text; {REMEDY}")
    return RecordedRun(path, first.parent, (checkpoint, *best), settings, stage, prepared)


def _is_counted(checkpoint: Checkpoint) -> bool:
    return KINDS[checkpoint.kind].fit.deterministic


def _damage(checkpoint: Checkpoint, latest: Checkpoint) -> str:
    """Describe what no checkpoint of a finished run has; empty if there is nothing."""
    rows = checkpoint.history
    if type(checkpoint.seed) is not int or checkpoint.seed < 0:
        return f"its seed is {checkpoint.seed!r}"
    if checkpoint.identity != latest.identity or rows != latest.history[: len(rows)]:
        return f"{LATEST} and {BEST} are of two runs"
    if _is_counted(checkpoint):
        return ""
    losses = [row.get(name) for row in rows if isinstance(row, dict) for name in LOSSES]
    if len(losses) != 2 * len(rows) or not all(isinstance(each, float) for each in losses[1:]):
        return "its history is not a list of losses"
    if not rows or type(checkpoint.step) is not int or rows[-1].get("step") != checkpoint.step:
        return f"its history does not end at step {checkpoint.step}"
    return ""


def verify_run(run: RecordedRun, tolerance: float) -> Verdict:
    """Make a run again and compare; what is written on the way is removed.

    Parameters
    ----------
    tolerance : of losses, relative; granted where machine, versions or code differ

    Raises
    ------
    InputError
        If a file beside the checkpoint is not what the checkpoint gives, or the weights that the
        run began from are not at hand.
    RunError
        If the repetition fails, such as for a loss that is not finite.
    """
    checkpoint = run.checkpoints[0]
    trained_by = read_trained(run.folder)
    known = trained_by.get("kernels") in kernels.CHOICES
    kernels.select(trained_by["kernels"] if known else "numba")
    elsewhere = tuple(_elsewhere(run, trained_by.get("code")))
    exact = not set(elsewhere) - {UNKNOWN_CODE}
    tolerance = 0.0 if exact or _is_counted(checkpoint) else tolerance
    with tempfile.TemporaryDirectory(prefix="lmladder-verify-") as name:
        compared = _require_results(run, Path(name))
        if _is_counted(checkpoint):
            again = count(replace(checkpoint, model={}), run.settings, run.prepared)
            found = next(_differences(run, again), None)
            result = found is None, 0, found
        else:
            result = _repeat(run, Path(name), tolerance)
    reproduces, step, found = result
    return Verdict(str(run.path), reproduces, step, tolerance, compared, found, elsewhere)


def _elsewhere(run: RecordedRun, code: str | None) -> Iterator[str]:
    """Yield what may round otherwise here than where the run was made."""
    path = run.folder / ENVIRONMENT
    counted = _is_counted(run.checkpoints[0])  # counts are not rounded
    if not counted and not (code and run.stage):
        yield UNKNOWN_CODE
    elif not counted and code != code_digest(run.stage):
        yield "code"
    there: dict[str, Any] = {}
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        there = dotted(json.loads(path.read_bytes())) if path.is_file() else {}
    if not there:
        yield "machine and versions (unknown)"
        return
    here = dotted(environment.describe(kernels.describe()))
    yield from (
        printable(key)
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and key != "threads"  # which change no bit
    )


def _require_results(run: RecordedRun, folder: Path) -> tuple[str, ...]:
    """Make the files beside a checkpoint again in `folder`; return the names of those compared.

    Raises
    ------
    InputError
        If one differs.
    """
    checkpoint, prepared = run.checkpoints[0], run.prepared
    rung = ""  # its folder in a ladder, which no checkpoint holds
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        rung = json.loads((run.path / METRICS).read_bytes())["rung"]
    models: dict[str, Any] = {**checkpoint.restore_models()}
    if _is_counted(checkpoint):
        with redirect_stdout(sys.stderr):
            write_scores(folder, checkpoint.kind, rung, models, prepared, SCORING)
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


def _repeat(
    run: RecordedRun, folder: Path, tolerance: float
) -> tuple[bool, int, Difference | None]:
    """Train again; return whether the run reproduces, the last step, and a `Verdict`'s difference.

    The run is repeated in `folder`, to its end or to the difference that decides.
    """
    checkpoint = run.checkpoints[0]
    origin = replace(checkpoint, step=0, history=(), model={}, optimizer={})
    code = code_digest(run.stage) if run.stage else ""
    again = begin(origin, run.settings, run.prepared, folder, stage=run.stage, code=code)
    wanted, found = checkpoint.init_digest, again.origin.init_digest
    if wanted != found:
        given = f"{checkpoint.name}.init_from={run.settings.init_from}"
        named = f"{given} has sha256 {found and found[:12]}"
        raise InputError(f"{named}, but {run.path} began from {wanted and wanted[:12]}")
    reproduces, step, first = True, 0, None

    def watch(state: Checkpoint) -> None:
        nonlocal reproduces, step, first
        step = state.step
        for each in _differences(run, state):
            first = first or each
            if not _tolerated(each, tolerance):
                reproduces, first = False, each
                raise _EnoughError
        if step >= checkpoint.step:
            raise _EnoughError

    try:
        # Its progress must not mix with verdicts, and a loss that diverges has its own line.
        with redirect_stdout(sys.stderr), catch_warnings(), suppress(_EnoughError):
            simplefilter("ignore", RuntimeWarning)
            end, _ = train(again, watch)
            return False, end.step, Difference(end.step, "step", checkpoint.step, end.step)
    except RunError as error:  # without the remedy, which names what is gone by then
        reason = str(error).partition("; ")[0]
        raise RunError(f"{run.path} cannot be trained again: {reason}") from error
    if reproduces and first:  # then other weights were learnt: those recorded must have their loss
        training = run.settings.training
        rows = validation_sequences(again.val, training.sequence_length, training.evaluate_tokens)
        again.model.load(checkpoint.model)
        loss = float(sequence_nll(again.model, training, rows).mean())
        last = Difference(step, LOSSES[1], checkpoint.history[-1][LOSSES[1]], loss)
        if not _tolerated(last, tolerance):
            return False, step, last
    return reproduces, step, first


def _differences(run: RecordedRun, again: Checkpoint) -> Iterator[Difference]:
    """Yield where a state of the repetition is not, to the bit, what was recorded of its step."""
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


def _tolerated(difference: Difference, tolerance: float) -> bool:
    """Whether a difference may come from other roundings; these grow in all but the losses."""
    values = difference.recorded, difference.again
    if difference.name in LOSSES and all(isinstance(each, float) for each in values):
        return math.isclose(*values, rel_tol=tolerance)
    return tolerance > 0 and difference.name not in (*LOSSES, *EXACT)
