"""What a model made of each token: the same numbers that its distributions have."""

from lmladder.models.counts import CountTables
from lmladder.models.ngram import KneserNey
from lmladder.rng import stream
from lmladder.scoring import predict

import numpy as np
import pytest

VOCABULARY = 6
TEXT = stream(0, "text").integers(VOCABULARY, size=500)
MODEL = KneserNey(CountTables.count(TEXT, VOCABULARY, 3), 3)
ROWS = stream(0, "rows").integers(VOCABULARY, size=(9, 8))


def test_predictions_are_those_of_the_distribution_before_each_token() -> None:
    found = predict(MODEL, ROWS, batch_tokens=1000)
    assert found.nats.shape == found.confidence.shape == found.hit.shape == (9, 7)
    np.testing.assert_allclose(found.nats, MODEL.nats(ROWS), rtol=1e-12)
    for place in range(7):
        probabilities = np.exp(MODEL.next_log_probabilities(ROWS[:, : place + 1]))
        likeliest = probabilities.argmax(axis=1)
        np.testing.assert_array_equal(found.hit[:, place], likeliest == ROWS[:, place + 1])
        np.testing.assert_allclose(found.confidence[:, place], probabilities.max(axis=1))


@pytest.mark.parametrize("batch_tokens", [1, 16, 30])
def test_the_size_of_batches_changes_nothing(batch_tokens: int) -> None:
    whole, parts = (
        predict(MODEL, ROWS, batch_tokens=1000),
        predict(MODEL, ROWS, batch_tokens=batch_tokens),
    )
    np.testing.assert_array_equal(parts.nats, whole.nats)
    np.testing.assert_array_equal(parts.confidence, whole.confidence)
    np.testing.assert_array_equal(parts.hit, whole.hit)
