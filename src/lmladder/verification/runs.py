"""Training again from what a checkpoint tells, and where the second run parts from the first.

The lines of both histories are compared as they come, so that a run which parts is not trained to
its end. Each line has a digest of the weights: from the first that differs on, other bits are at
work. Whether these are but other roundings is for the losses to tell, and only where something
differs that may round otherwise; on the same machine with the same versions and code none does.
Weights and gradient norms do not tell: other roundings grow to differences of percents in a long
run, whose losses stay close all the same.
"""

import math
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from lmladder import environment, kernels
from lmladder.arrays import Array
from lmladder.checkpoint import Checkpoint
from lmladder.config import BigramConfig, dotted
from lmladder.errors import InputError, RunError
from lmladder.history import DIGEST, Row
from lmladder.rung import begin, count, training_code_digest
from lmladder.text import Prepared
from lmladder.training import TrainingRun, row_nats, train, validation_rows
from lmladder.verification.recorded import RecordedRun

import numpy as np

IDENTICAL, TOLERATED, PARTS = "bit-identical", "equal within tolerance", "parts"
HARMLESS = {"threads"}  # of an environment: what is promised to change no bit
JUDGED = {"step", "tokens", "train_nats", "val_nats", "learning_rate_factor"}  # by the tolerance


@dataclass(frozen=True)
class Difference:
    """Of a number in a line of history, or of arrays, between a run and its repetition.

    Attributes
    ----------
    name : the column; or "model" or "optimizer", with the name of the array if only one differs
    step : at which
    recorded, again : the two values; of arrays the Euclidean norm of all
    relative : of numbers |a - b| / max(|a|, |b|), of arrays the same with Euclidean norms;
        infinite where the two cannot be compared, such as digests
    """

    name: str
    step: int
    recorded: Any
    again: Any
    relative: float


@dataclass(frozen=True)
class RunVerdict:
    """What became of a run that was trained again.

    Attributes
    ----------
    outcome : IDENTICAL, TOLERATED or PARTS
    step : up to which the two were compared
    same_until : the last step to which all was the same bit for bit; None: not even the first line
    parts_at : the step of the first line or checkpoint that was not; None if there is none
    tolerance : relative, that was granted
    difference : the largest that was judged; where the run parts, the one that decided
    weights : how far apart they are at the end, relative as in `Difference`; None if unknown
    environment : what differs, by dotted key: there, here; None where there is unknown
    code : digest of the modules that trained: there, here
    """

    path: Path
    kind: str
    outcome: str
    step: int
    same_until: int | None
    parts_at: int | None
    tolerance: float
    difference: Difference | None
    weights: float | None
    environment: Mapping[str, tuple[Any, Any]] | None
    code: tuple[str, str]


def verify_run(run: RecordedRun, prepared: Prepared, *, tolerance: float) -> RunVerdict:
    """Train again and compare; what the repetition writes is gone at the end.

    Parameters
    ----------
    prepared : the text that the run was trained on
    tolerance : relative; granted where machine, versions or code differ or are unknown

    Raises
    ------
    InputError
        If the weights that the run began from are not at hand.
    RunError
        If the repetition fails, such as by a loss that is not finite.
    """
    there = run.environment or {}
    kernels.select(there["kernels"] if there.get("kernels") in kernels.CHOICES else "numba")
    differs = None if run.environment is None else _differences(there, environment.describe())
    code = (run.checkpoint.code_digest, training_code_digest())
    may_round = differs is None or bool(differs.keys() - HARMLESS) or code[0] != code[1]
    if isinstance(run.config, BigramConfig):
        comparison = _Comparison(run, tolerance=0.0)  # counts are not rounded
        comparison.compare(count(run.origin, run.config, prepared))
    else:
        comparison = _Comparison(run, tolerance if may_round else 0.0)
        with tempfile.TemporaryDirectory(prefix="lmladder-verify-") as folder:
            again = begin(run.origin, run.config, prepared, Path(folder))
            _require_weights(run, again)
            try:
                # Its progress is to mix with no verdict, and a loss that diverges has its own line.
                with redirect_stdout(sys.stderr), catch_warnings():
                    simplefilter("ignore", RuntimeWarning)
                    comparison.follow(again)
            except RunError as error:  # without the remedy, which names what is gone by then
                reason = str(error).partition("; ")[0]
                raise RunError(f"{run.path} cannot be trained again: {reason}") from error
    return comparison.verdict(differs, code)


def _require_weights(run: RecordedRun, again: TrainingRun) -> None:
    """InputError unless both begin from the same file of weights, if from any."""
    wanted, found = run.checkpoint.init_digest, again.origin.init_digest
    if wanted != found:
        raise InputError(
            f"{run.path} began from weights with sha256 {wanted and wanted[:12]}, but "
            f"transformer.init_from={run.checkpoint.config['init_from']} has "
            f"{found and found[:12]}; put that file back"
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two environments tell differently, by dotted key; None for what one does not tell."""
    then, now = dotted(there), dotted(here)
    return {
        key: (then.get(key), now.get(key))
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    }


class _EnoughError(Exception):
    """Ends a repetition of which all is known."""


class _Comparison:
    """A recorded run beside its repetition, state by state."""

    def __init__(self, run: RecordedRun, tolerance: float) -> None:
        self.run, self.tolerance = run, tolerance
        self.step = 0
        self.same_until: int | None = None
        self.parts_at: int | None = None
        self.parts = False
        self.difference: Difference | None = None
        self.weights: float | None = None
        self.other_weights: Difference | None = None  # the first digest that differed

    def follow(self, again: TrainingRun) -> None:
        """Train, and compare each state, till all is known."""
        end = self.run.checkpoint.step

        def watch(state: Checkpoint) -> None:
            self.compare(state)
            if self.parts or state.step >= end:
                raise _EnoughError

        with suppress(_EnoughError):
            state, _ = train(again, watch)
            # As where patience has ended it before, by another loss.
            self.parts_at = state.step if self.parts_at is None else self.parts_at
            self._judge([Difference("step", state.step, end, state.step, math.inf)])
        if self.parts_at is not None and not self.parts:
            self._score(again)

    def _score(self, again: TrainingRun) -> None:
        """Whether the recorded weights have the loss that their history tells, wherever learnt."""
        training, recorded = again.config.training, self.run.checkpoint
        rows = validation_rows(again.val, training.row_length, training.evaluate_tokens)
        again.model.load(recorded.model)
        found = float(row_nats(again.model, training, rows).mean())
        told = {"val_nats": recorded.history[-1]["val_nats"]}
        self._judge(list(_in_line(told, {"step": recorded.step, "val_nats": found})))

    def compare(self, state: Checkpoint) -> None:
        """A state of the repetition with what was recorded of that step."""
        self.step = state.step
        found: list[Difference] = []
        if state.history:
            recorded = self.run.checkpoint.history[len(state.history) - 1]
            found += _in_line(recorded, state.history[-1])
        for each in (self.run.best, self.run.checkpoint):
            if each is not None and each.step == state.step:
                apart = list(_in_arrays(each, state))
                self.weights = next((d.relative for d in apart if d.name[:5] == "model"), 0.0)
                found += apart
        self._note(found)

    def _note(self, found: list[Difference]) -> None:
        """Remember where bits begin to differ, and judge the numbers."""
        digest = next((each for each in found if each.name == DIGEST), None)
        if self.other_weights is not None and digest is None:
            # Other roundings never lead back to the same bits: a line of the history is wrong.
            self.difference, self.parts = self.other_weights, True
            return
        self.other_weights = self.other_weights or digest
        if not found:
            if self.parts_at is None:
                self.same_until = self.step
            return
        if self.parts_at is None:
            self.parts_at = self.step
        self._judge(found)

    def _judge(self, found: list[Difference]) -> None:
        """Remember the largest difference that is judged, and whether it is too much."""
        if self.tolerance > 0:
            found = [each for each in found if each.name in JUDGED]
        numbers = [each for each in found if each.name != DIGEST]  # they tell more than a digest
        largest = max(numbers or found, key=lambda each: each.relative, default=None)
        if largest is None:
            return
        self.parts = largest.relative > self.tolerance
        if self.parts or self.difference is None or largest.relative > self.difference.relative:
            self.difference = largest

    def verdict(
        self, differs: Mapping[str, tuple[Any, Any]] | None, code: tuple[str, str]
    ) -> RunVerdict:
        equal = IDENTICAL if self.parts_at is None else TOLERATED
        return RunVerdict(
            path=self.run.path,
            kind=self.run.checkpoint.kind,
            outcome=PARTS if self.parts else equal,
            step=self.step,
            same_until=self.same_until,
            parts_at=self.parts_at,
            tolerance=self.tolerance,
            difference=self.difference,
            weights=self.weights,
            environment=differs,
            code=code,
        )


def _in_line(recorded: Row, again: Row) -> Iterator[Difference]:
    """Where a line of history differs; of what is recorded, as older ones tell less."""
    for name, value in recorded.items():
        if value != again.get(name):
            yield Difference(
                name, again["step"], value, again.get(name), _relative(value, again.get(name))
            )


def _relative(a: Any, b: Any) -> float:
    """|a - b| / max(|a|, |b|) of two that are not equal; infinite for what is never rounded."""
    if not all(isinstance(each, float) and math.isfinite(each) for each in (a, b)):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b))


def _in_arrays(recorded: Checkpoint, again: Checkpoint) -> Iterator[Difference]:
    """Whether the weights, or the optimizer's means, of two checkpoints differ, if only by a bit.

    Each are taken as one vector: an array alone may hold nothing but noise, as the bias of keys,
    which softmax makes irrelevant.
    """
    for part in ("model", "optimizer"):
        ours: Mapping[str, Array] = getattr(recorded, part)
        theirs: Mapping[str, Array] = getattr(again, part)
        names = sorted(ours.keys() | theirs.keys())
        if other := [name for name in names if not _same_bits(ours.get(name), theirs.get(name))]:
            label = f"{part}.{other[0]}" if len(other) == 1 else part
            norms = _norm(ours.values()), _norm(theirs.values())
            yield Difference(label, again.step, *norms, _relative_distance(ours, theirs))


def _same_bits(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None:
        return False
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def _norm(arrays: Iterable[Array]) -> float:
    """Euclidean, of all arrays as one vector."""
    return math.sqrt(
        math.fsum(float(np.linalg.norm(each.astype(np.float64))) ** 2 for each in arrays)
    )


def _relative_distance(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    """||a - b|| / max(||a||, ||b||) of vectors that differ; infinite if they are not comparable."""
    if {name: each.shape for name, each in a.items()} != {n: each.shape for n, each in b.items()}:
        return math.inf
    distance = _norm(a[name].astype(np.float64) - b[name] for name in a)
    size = max(_norm(a.values()), _norm(b.values()))
    return distance / size if math.isfinite(distance) and size > 0 else math.inf
