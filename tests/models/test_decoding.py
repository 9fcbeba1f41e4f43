"""Decoders: reading token by token gives what computing the whole window again gives."""

from typing import Any

from lmladder.models import Decoder, LanguageModel
from lmladder.nn import ACTIVATIONS
from lmladder.system.arrays import FloatArray, IntArray
from tests.models.examples import (
    BARE,
    COUNT_MODELS,
    MODERN,
    ORACLE,
    TRANSFORMER,
    build,
    draw,
    mixture,
    model_named,
)

import numpy as np
import pytest

CONTEXT = 8


def transformer(context_length: int = CONTEXT, **settings: Any) -> Any:
    return build(
        TRANSFORMER.model_copy(update={"context_length": context_length, **settings}), spread=0.3
    )


MODELS: dict[str, LanguageModel] = {
    "uniform": COUNT_MODELS["uniform"],
    "oracle": ORACLE,
    "kneser_ney": COUNT_MODELS["kneser_ney_4"],
    "mlp": model_named("mlp"),
    "mixture": mixture({"kneser_ney_4": True, "transformer": True}),
    "gru": model_named("gru"),
    "transformer, odd context": transformer(5),
    "transformer, context 1": transformer(1),
    "transformer, context 2": transformer(2),
    "transformer, no layers": transformer(n_layer=0),
    "transformer, modern": transformer(**MODERN),
    "transformer, wide convolution": transformer(convolution=2 * CONTEXT),
    "transformer, bare": transformer(**BARE),
    **{f"transformer, {name}": transformer(activation=name) for name in ACTIVATIONS},
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def read(decoder: Decoder, tokens: IntArray, lengths: list[int]) -> list[FloatArray]:
    """Return the result after each piece of the text."""
    pieces = np.split(tokens, np.cumsum(lengths), axis=1)
    assert pieces.pop().size == 0
    return [decoder.read(piece) for piece in pieces]


@every_model
def test_a_text_may_be_read_in_pieces_of_any_length(model: LanguageModel) -> None:
    tokens = draw("text", 1, 10 * CONTEXT)
    expected = read(Decoder(model), tokens, [1] * tokens.size)
    for lengths in ([1] * tokens.size, [1, 3, 4, 1], [7, 1, 1, 5], [8, 1], [9], [30, 2, 1]):
        found = read(model.decoder(), tokens[:, : sum(lengths)], lengths)
        right = [expected[end - 1] for end in np.cumsum(lengths)]
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-5)


@every_model
def test_sequences_continue_as_those_that_were_selected(model: LanguageModel) -> None:
    tokens = draw("text", 4, 3 * CONTEXT)
    tokens[:, :3] = tokens[0, :3]
    decoder = model.decoder()
    decoder.read(tokens[:1, :3])
    decoder.select([0] * 4)  # four texts that begin alike
    found = read(decoder, tokens[:, 3:7], [1, 2, 1])
    order = [2, 0, 2]
    decoder.select(order)
    found += read(decoder, tokens[order, 7:], [1] * (tokens.shape[1] - 7))
    for i, sequence in enumerate(order):
        alone = read(Decoder(model), tokens[[sequence]], [4, 2, 1] + [1] * (len(found) - 3))
        for ours, right in zip(found[3:], alone[3:], strict=True):
            np.testing.assert_allclose(ours[i], right[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[0][sequence], alone[0][0], rtol=0, atol=1e-5)


def test_decoders_of_one_model_are_independent_and_as_precise_as_its_weights() -> None:
    model, tokens = transformer(), draw("text", 2, CONTEXT)
    for precision, dtype in ((1e-5, np.float32), (1e-12, np.float64)):
        model.astype(dtype)
        first, second = model.decoder(), model.decoder()
        for position in range(CONTEXT):
            piece = slice(position, position + 1)
            found = [first.read(tokens[:1, piece]), second.read(tokens[1:, piece])]
            expected = model.next_log_probabilities(tokens[:, : position + 1])
            np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=precision)
