"""Numbers to draw, of every kind."""

from lmladder.evaluation import ContextLosses, Reliability
from lmladder.reports import calibration_table, position_table
from lmladder.system.streams import stream

import numpy as np
import pytest

MODELS = ("unigram", "bigram", "kneser_ney_3", "kneser_ney_5", "mlp", "transformer")


@pytest.fixture
def positions():
    """Nats that fall with the context; the MLP reads eight tokens at most."""
    worth = np.linspace(2.0, 0.5, 64)
    rows = {
        model: worth + place / 10 + stream(place, "rows").normal(0, 0.2, size=(20, 64))
        for place, model in enumerate(reversed(MODELS))
    }
    rows["mlp"] = rows["mlp"][:, :8]
    return position_table({model: ContextLosses.of_sequences(rows[model]) for model in MODELS})


@pytest.fixture
def calibration():
    """The unigram says one and the same, the MLP is not sure enough, the others are right."""
    rng = stream(0, "calibration")
    said = {model: rng.uniform(0.2, 1, 5000) for model in MODELS}
    said["unigram"] = np.full(5000, 0.18)
    true = {model: each ** (0.5 if model == "mlp" else 1) for model, each in said.items()}
    return calibration_table(
        {model: Reliability.of(said[model], rng.random(5000) < true[model]) for model in MODELS}
    )
