"""What a model predicts of each token: the values that its distributions have."""

from lmladder.evaluation import predict
from tests.models.examples import COUNT_MODELS, draw

import numpy as np

MODEL = COUNT_MODELS["kneser_ney_4"]
TOKENS = draw("tokens", 9, 8)


def test_predictions_are_those_of_the_distribution_before_each_token() -> None:
    found = predict(MODEL, TOKENS, batch_tokens=1000)
    nats, confidence, hit = np.moveaxis(found, -1, 0)
    np.testing.assert_allclose(nats, MODEL.nll(TOKENS), rtol=1e-12)
    for i in range(7):
        probabilities = np.exp(MODEL.next_log_probabilities(TOKENS[:, : i + 1]))
        best = probabilities.argmax(axis=1)
        np.testing.assert_array_equal(hit[:, i], best == TOKENS[:, i + 1])
        np.testing.assert_allclose(confidence[:, i], probabilities.max(axis=1))
    for batch_tokens in (1, 16, 30):
        np.testing.assert_array_equal(predict(MODEL, TOKENS, batch_tokens=batch_tokens), found)
