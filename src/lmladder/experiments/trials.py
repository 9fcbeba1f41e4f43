"""Is a change an improvement? The sequential test of `lmladder try`, and the ledger of its answers.

Pairs of runs, one of the base and one of the change, with the same seed, are added until the mean
of their differences in loss is known well enough. Looking at a test after every pair and stopping
when it is significant would find a difference too often where there is none. Therefore each look
has a part of the level of 5% (K. K. G. Lan and D. L. DeMets 1983, Biometrika 70), which gives a
critical value of Student's t for each number of pairs. The intervals that these values give hold
simultaneously for all looks, whatever the reason to stop was (C. Jennison and B. W. Turnbull 1989,
Journal of the Royal Statistical Society B 51). The differences are assumed to be normal.

All seeds are scored on the same text, which many questions may have been asked about. Therefore a
difference is then confirmed: on fresh text, or by an interval that includes the uncertainty from
the choice of the text, at a level that decreases with the number of questions.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from lmladder.data.reading import opened
from lmladder.experiments.intervals import CONFIDENCE, MIN_BLOCKS, two_sided_quantiles
from lmladder.system.arrays import FloatArray
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write
from lmladder.system.streams import stream

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

MIN_PAIRS, MAX_PAIRS = 3, 24  # the first look, and the last
SPENDING = 1.5  # the level of look k is proportional to k ** -SPENDING
PATHS = 200_000  # simulated tests, which determine the critical values
BETTER, WORSE, EQUAL, UNDECIDED = "better", "worse", "no difference", "undecided"
LEDGER = Path("trials.csv")


@dataclass(frozen=True)
class Estimate:
    """The mean of differences, change minus base, in nats per token, and its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        known = f"[{self.low:+.4f}, {self.high:+.4f}]" if self.low > -math.inf else "(no interval)"
        return f"{self.mean:+.4f} {known}"

    def answer(self, smallest: float) -> str:
        """Return what the interval shows; `smallest` is the smallest difference of interest."""
        if self.high < 0 or self.low > 0:
            return BETTER if self.high < 0 else WORSE
        return EQUAL if max(-self.low, self.high) < smallest else UNDECIDED


@functools.cache
def critical_values() -> dict[int, float]:
    """Return the critical value of |t| for each number of pairs at which the test looks.

    Where there is no difference, |t| exceeds any of them with a probability of 5%. The distribution
    of t does not depend on the variance, so paths of t without a difference are simulated.
    """
    rng, values = stream(0, "looks"), {}
    parts = np.arange(1.0, MAX_PAIRS - MIN_PAIRS + 2) ** -SPENDING
    ending = np.round((1 - CONFIDENCE) * PATHS * parts / parts.sum()).astype(int)  # at each look
    sums, squares = np.zeros(PATHS), np.zeros(PATHS)
    for pairs in range(1, MAX_PAIRS + 1):
        drawn = rng.standard_normal(len(sums))
        sums, squares = sums + drawn, squares + drawn**2
        if pairs >= MIN_PAIRS:
            t = np.abs(sums) / np.sqrt((pairs * squares - sums**2) / (pairs - 1))
            last = len(t) - 1 - ending[pairs - MIN_PAIRS]
            values[pairs] = float(np.partition(t, last)[last])
            sums, squares = sums[t <= values[pairs]], squares[t <= values[pairs]]
    return values


def estimate(differences: Sequence[float], text_margin: float = 0.0) -> Estimate:
    """Return the mean of differences, one for each seed, and an interval valid at all looks.

    It is infinite for fewer than `MIN_PAIRS`.

    Parameters
    ----------
    text_margin : half-width of an interval of the uncertainty from the choice of the text
    """
    count, mean, margin = len(differences), fmean(differences), math.inf
    if count >= MIN_PAIRS:
        margin = critical_values()[count] * stdev(differences) / math.sqrt(count)
    margin = math.hypot(margin, text_margin)
    return Estimate(mean, mean - margin, mean + margin)


def text_margin(differences: FloatArray, tokens: FloatArray, questions: int) -> float:
    """Return the half-width of the interval of a difference that is due to the choice of the text.

    The probability of an error of this part at the nth question about a text is 5% / (n (n + 1)),
    which is 5% over any number of questions. It is infinite for fewer than `MIN_BLOCKS` blocks.

    Parameters
    ----------
    differences : in nats of each block of the text, the mean over seeds, (blocks,)
    tokens : of each block, (blocks,)
    questions : asked about this text, with this one
    """
    if (blocks := len(tokens)) < MIN_BLOCKS:
        return math.inf
    left = differences - differences.sum() / tokens.sum() * tokens
    error = math.sqrt(blocks / (blocks - 1) * np.square(left).sum()) / float(tokens.sum())
    level = (1 - CONFIDENCE) / (questions * (questions + 1))
    return two_sided_quantiles(level, blocks - 1)[1] * error


# --- The ledger -----------------------------------------------------------------------------------


class Trial(BaseModel):
    """A question and its answer: a line of trials.csv. Losses are in nats per token.

    Attributes
    ----------
    rung : name of the rung, such as "transformer"
    change, common : overrides of the change, and of both sides
    against : commit of the base; empty where it is the same code
    equal : "tokens" or "time", of which both sides have the same
    text : digest of the text and its tokenizer
    inputs : digest of all that determines the runs: their code, and all settings
    smallest : smallest difference of interest
    pairs, looks : pairs of runs, and how often the test looked at their scores
    base : mean loss of the base on the validation text
    difference, low, high : change minus base on the validation text, with the interval of all looks
    answer : of the test
    excess : loss of the base above the truth on fresh text; None if a better change was not
        confirmed on fresh text
    confirmed, confirmed_low, confirmed_high : the difference of a better change on fresh text, or
        with the interval that is corrected for the number of questions
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rung: str
    change: str = ""
    common: str = ""
    against: str = ""
    equal: str
    text: str
    inputs: str
    smallest: float
    pairs: int
    looks: int
    base: float
    difference: float
    low: float
    high: float
    answer: str
    excess: float | None = None
    confirmed: float | None = None
    confirmed_low: float | None = None
    confirmed_high: float | None = None

    @property
    def question(self) -> tuple[str, ...]:
        """What is asked: the same question has one line."""
        return self.rung, self.change, self.equal, self.text, self.inputs

    @property
    def found(self) -> Estimate:
        return Estimate(self.difference, self.low, self.high)

    @property
    def confirmation(self) -> Estimate | None:
        """The confirmed difference; None where the change is not better."""
        values = self.confirmed, self.confirmed_low, self.confirmed_high
        return None if None in values else Estimate(*values)  # type: ignore[arg-type]

    def confirmed_by(self, found: Estimate, excess: float | None = None) -> "Trial":
        """Return this trial with its confirmed difference."""
        known = {"confirmed": found.mean, "confirmed_low": found.low, "confirmed_high": found.high}
        return self.model_copy(update=known | {"excess": excess})

    def number(self, ledger: Sequence["Trial"]) -> int:
        """Return which question about its text this is, from 1."""
        same = [each.question for each in ledger if each.text == self.text]
        return 1 + (same.index(self.question) if self.question in same else len(same))


def read_ledger(path: Path) -> list[Trial]:
    """Return the trials in a file, in the order in which they were asked; none if it is missing.

    Raises
    ------
    InputError
        If the file cannot be read, or is damaged.
    """
    if not path.exists():
        return []
    with opened(path) as file:
        try:
            rows = pd.read_csv(file, dtype=str, keep_default_na=False).to_dict("records")
            return [Trial.model_validate({k: v for k, v in row.items() if v}) for row in rows]
        except ValueError as error:
            raise InputError(f"{path} is damaged: {' '.join(str(error).split())}") from None


def add_to_ledger(path: Path, trial: Trial) -> None:
    """Write a trial to a file; it replaces an earlier answer to the same question."""
    known = {each.question: each for each in read_ledger(path)} | {trial.question: trial}
    table = pd.DataFrame([each.model_dump() for each in known.values()])
    atomic_write(path, table.to_csv(index=False, float_format="%.6f").encode())
