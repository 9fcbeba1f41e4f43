"""How the next token is chosen from the probabilities that a model gives."""

from dataclasses import dataclass

from lmladder.arrays import FloatArray
from lmladder.errors import InputError

import numpy as np


@dataclass(frozen=True)
class Strategy:
    """Temperature, then top-k.

    Attributes
    ----------
    temperature : divides log probabilities; 0 always takes the likeliest token, 1 leaves the
        model's probabilities alone
    top_k : only the k likeliest tokens stay in play; None for all
    """

    temperature: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature must be at least 0, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top-k must be at least 1, not {self.top_k}")

    def choose(self, log_probabilities: FloatArray, rng: np.random.Generator) -> int:
        """One token, drawn from (vocabulary,) log probabilities. Of equal tokens, the first."""
        if self.temperature == 0:
            return int(np.argmax(log_probabilities))
        order = np.argsort(-log_probabilities, kind="stable")[: self.top_k]
        behind = log_probabilities[order] - log_probabilities[order[0]]
        with np.errstate(over="ignore"):  # to -inf, at a temperature next to 0
            cumulative = np.cumsum(np.exp(behind / self.temperature))
        return int(order[np.searchsorted(cumulative, rng.random() * cumulative[-1], "right")])
