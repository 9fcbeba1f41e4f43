"""How the next token is chosen from the probabilities of a model."""

from typing import Annotated, Self

from lmladder.system.arrays import BoolArray, FloatArray, IntArray
from lmladder.system.settings import Count, Fraction, Settings

import numpy as np
from pydantic import Field, model_validator


class Strategy(Settings):
    """Sampling from the model's probabilities, modified in this order; the defaults change nothing.

    Attributes
    ----------
    repetition_penalty : multiplies the log probability of each token that occurs in the text, the
        prompt included; above 1 avoids repetition (Keskar et al. 2019, CTRL, divide logits, which
        have either sign; log probabilities have one)
    temperature : divides log probabilities; 0 always takes the most likely token
    top_k : only the k most likely tokens; None for all
    top_p : of those only the most likely, as few as have this fraction of their total probability
        (nucleus sampling, Holtzman et al. 2020)
    min_p : of those only the ones with at least this fraction of the most likely token's
        probability (Nguyen et al. 2024)
    """

    temperature: float = Field(
        1.0, ge=0, description="below 1 is more conservative; 0: always the most likely token"
    )
    top_k: Count | None = Field(None, description="only the k most likely tokens; null: all")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="only the most likely tokens with this total probability"
    )
    min_p: Fraction = Field(0.0, description="least probability, as a fraction of the greatest")
    repetition_penalty: float = Field(1.0, gt=0, description="above 1 avoids repetition")

    def choose(
        self, log_probabilities: FloatArray, rng: np.random.Generator, seen: BoolArray | None = None
    ) -> int:
        """Return one token, drawn with one random number; equally likely ones are in order.

        Parameters
        ----------
        log_probabilities : (vocabulary,), which need not be normalized
        seen : (vocabulary,), whether each token occurs in the text; None for none
        """
        if seen is not None and self.repetition_penalty != 1:
            penalized = log_probabilities * self.repetition_penalty
            log_probabilities = np.where(seen, penalized, log_probabilities)
        if self.temperature == 0:
            return int(log_probabilities.argmax())
        order = most_likely(log_probabilities, self.top_k)
        ordered = log_probabilities[order]
        with np.errstate(over="ignore"):  # to -inf, at a temperature close to 0
            weights = np.exp((ordered - ordered[0]) / self.temperature)  # of the most likely: 1
        cumulative = weights.cumsum()
        if self.top_p < 1:
            cumulative = cumulative[: 1 + cumulative.searchsorted(self.top_p * cumulative[-1])]
        if self.min_p > 0:
            cumulative = cumulative[: np.count_nonzero(weights >= self.min_p)]
        return int(order[cumulative.searchsorted(rng.random() * cumulative[-1], "right")])


class SampleSettings(Strategy):
    """How each model continues a prompt."""

    prompt: str | None = Field(
        description="text to continue; null: a document begins or, in a text without documents, "
        "the beginning of the validation text"
    )
    tokens: Count = Field(description="tokens of a sample at most")
    beams: Count | None = Field(
        description="width of a beam search, which uses no temperature, top_k, top_p, min_p or "
        "repetition_penalty; null: draw"
    )
    samples: Count = Field(description="samples of each model")
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        description="texts before which a sample ends"
    )

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        if self.prompt == "":
            raise ValueError("prompt is empty; give at least one token to continue, or null")
        if self.beams is not None and self.samples > self.beams:
            raise ValueError(f"samples={self.samples} must be at most beams={self.beams}")
        return self


def most_likely(log_probabilities: FloatArray, count: int | None) -> IntArray:
    """Return the indices of the `count` largest of (n,) values, or of all, in descending order.

    Equal values are in ascending order of index. Of a large vocabulary only candidates are sorted.
    """
    if count is None or 8 * count > len(log_probabilities):
        return (-log_probabilities).argsort(kind="stable")[:count]
    least = np.partition(log_probabilities, -count)[-count]
    (candidates,) = (log_probabilities >= least).nonzero()
    return candidates[(-log_probabilities[candidates]).argsort(kind="stable")[:count]]
