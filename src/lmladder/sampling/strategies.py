"""How the next token is chosen from the probabilities that a model gives."""

import math
from dataclasses import dataclass

from lmladder.arrays import BoolArray, FloatArray, IntArray
from lmladder.errors import InputError

import numpy as np


@dataclass(frozen=True)
class Strategy:
    """Draw from the model's probabilities, changed in this order; the defaults change nothing.

    Attributes
    ----------
    repetition_penalty : multiplies the log probability of each token that the text has already,
        the prompt included; above 1 avoids them (Keskar et al. 2019, CTRL, who divide scores, which
        can have either sign; log probabilities have one)
    temperature : divides log probabilities; 0 takes the likeliest token, whatever comes below
    top_k : only the k likeliest tokens stay in play; None for all
    top_p : of those only the likeliest, as few as have this share of their probability together
        (nucleus sampling, Holtzman et al. 2020)
    min_p : of those only the ones with at least this fraction of the likeliest token's probability
        (Nguyen et al. 2024)
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature must be at least 0, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top-k must be at least 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p must be more than 0 and at most 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise InputError(f"min-p must be between 0 and 1, not {self.min_p}")
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise InputError(
                f"repetition penalty must be a number more than 0, not {self.repetition_penalty}"
            )

    def choose(
        self,
        log_probabilities: FloatArray,
        rng: np.random.Generator,
        seen: BoolArray | None = None,
    ) -> int:
        """One token, drawn with one number from `rng`. Of equal tokens, the first is likelier.

        Parameters
        ----------
        log_probabilities : (vocabulary,)
        seen : (vocabulary,), which tokens the text has already; None for none
        """
        if seen is not None and self.repetition_penalty != 1:
            penalised = log_probabilities * self.repetition_penalty
            log_probabilities = np.where(seen, penalised, log_probabilities)
        if self.temperature == 0:
            return int(log_probabilities.argmax())
        order = likeliest(log_probabilities, self.top_k)
        ordered = log_probabilities[order]
        with np.errstate(over="ignore"):  # to -inf, at a temperature next to 0
            weights = np.exp((ordered - ordered[0]) / self.temperature)  # of the likeliest: 1
        cumulative = weights.cumsum()
        if self.top_p < 1:
            cumulative = cumulative[: 1 + cumulative.searchsorted(self.top_p * cumulative[-1])]
        if self.min_p > 0:
            cumulative = cumulative[: np.count_nonzero(weights >= self.min_p)]
        return int(order[cumulative.searchsorted(rng.random() * cumulative[-1], "right")])


def likeliest(log_probabilities: FloatArray, count: int | None) -> IntArray:
    """Places of the `count` largest of (n,) numbers, or of all; largest first, equal ones in order.

    Of a large vocabulary only what is in play is sorted.
    """
    if count is None or 8 * count > len(log_probabilities):
        return (-log_probabilities).argsort(kind="stable")[:count]
    least = np.partition(log_probabilities, -count)[-count]
    (candidates,) = (log_probabilities >= least).nonzero()
    return candidates[(-log_probabilities[candidates]).argsort(kind="stable")[:count]]
