"""Decoders: reading token by token gives what computing the whole window anew gives."""

from typing import Any

from lmladder.arrays import FloatArray, IntArray
from lmladder.autograd import Tensor
from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.models import LanguageModel, NeuralLanguageModel, build_neural
from lmladder.models.counts import CountTables
from lmladder.models.decoding import CachingDecoder, Decoder
from lmladder.models.ngram import KneserNey, Uniform
from lmladder.nn import ACTIVATIONS
from lmladder.rng import stream

import numpy as np
import pytest

VOCABULARY = 11
CONTEXT = 8


def transformer(
    context_length: int = CONTEXT, n_layer: int = 2, **settings: Any
) -> NeuralLanguageModel:
    choices = {"activation": "gelu_tanh", "dropout": 0.3, **settings}
    return with_large_weights(TransformerArchitecture(n_layer, 2, 8, context_length, **choices))


def with_large_weights(
    architecture: TransformerArchitecture | MlpArchitecture,
) -> NeuralLanguageModel:
    """A model whose guesses differ."""
    model = build_neural(architecture, VOCABULARY, rng=stream(0, "weights"))
    for name, tensor in model.parameters().items():
        tensor.value += (0.3 * stream(1, name).standard_normal(tensor.shape)).astype("f4")
    return model


def text(rows: int, length: int) -> IntArray:
    return stream(2, "text").integers(VOCABULARY, size=(rows, length))


MODELS: dict[str, LanguageModel] = {
    "uniform": Uniform(VOCABULARY),
    "kneser_ney": KneserNey(CountTables.count(text(1, 500)[0], VOCABULARY, 4), 4),
    "mlp": with_large_weights(MlpArchitecture(3, 4, [9], "tanh")),
    "transformer": transformer(),
    "transformer, odd context": transformer(5),
    "transformer, context 1": transformer(1),
    "transformer, context 2": transformer(2),
    "transformer, no layers": transformer(n_layer=0),
    "transformer, modern": transformer(
        norm="rmsnorm", gated=True, activation="silu", positions="rotary", qk_norm=True, tied=False
    ),
    "transformer, bare": transformer(
        norm="none", bias=False, activation="relu_squared", positions="none"
    ),
    "transformer, sinusoidal": transformer(
        positions="sinusoidal", embedding_norm=True, norm_weights=False, final_norm=False
    ),
    **{f"transformer, {name}": transformer(activation=name) for name in ACTIVATIONS},
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def read(decoder: Decoder, tokens: IntArray, lengths: list[int]) -> list[FloatArray]:
    """What a decoder says after each piece of the text."""
    pieces = np.split(tokens, np.cumsum(lengths), axis=1)
    assert pieces.pop().size == 0
    return [decoder.read(piece) for piece in pieces]


@every_model
def test_a_decoder_agrees_with_one_that_computes_everything_anew(model: LanguageModel) -> None:
    tokens = text(1, 10 * CONTEXT)
    found = read(model.decoder(), tokens, [1] * tokens.size)
    expected = read(Decoder(model), tokens, [1] * tokens.size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[1, 3, 4, 1], [7, 1, 1, 5], [8, 1], [9], [30, 2, 1], [3, 40]])
@every_model
def test_a_text_may_be_read_in_pieces_of_any_length(
    model: LanguageModel, lengths: list[int]
) -> None:
    tokens = text(1, sum(lengths))
    found = read(model.decoder(), tokens, lengths)
    one_by_one = read(Decoder(model), tokens, [1] * tokens.size)
    expected = [one_by_one[end - 1] for end in np.cumsum(lengths)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@every_model
def test_the_first_window_is_all_of_the_text_and_gives_its_probabilities(
    model: LanguageModel,
) -> None:
    length = model.max_length or CONTEXT
    tokens = text(1, length)
    np.testing.assert_allclose(
        model.decoder().read(tokens), model.next_log_probabilities(tokens), rtol=0, atol=1e-5
    )


@every_model
def test_rows_go_on_as_those_that_were_selected(model: LanguageModel) -> None:
    tokens = text(4, 3 * CONTEXT)
    decoder = model.decoder()
    decoder.read(tokens[:1, :3])
    decoder.select([0] * 4)  # four texts that begin alike
    tokens[:, :3] = tokens[0, :3]
    found = read(decoder, tokens[:, 3:7], [1, 2, 1])
    order = [2, 0, 2]
    decoder.select(order)
    found += read(decoder, tokens[order, 7:], [1] * (tokens.shape[1] - 7))
    for place, row in enumerate(order):
        alone = read(Decoder(model), tokens[row : row + 1], [4, 2, 1] + [1] * (len(found) - 3))
        for ours, right in zip(found[3:], alone[3:], strict=True):
            np.testing.assert_allclose(ours[place], right[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[0][row], alone[0][0], rtol=0, atol=1e-5)


def test_the_transformer_computes_only_new_tokens_until_its_window_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = transformer()
    computed = []
    hidden = type(model).hidden

    def counted(self: NeuralLanguageModel, tokens: IntArray, **options: Any) -> Tensor:
        computed.append(tokens.shape[1])
        return hidden(self, tokens, **options)

    monkeypatch.setattr(type(model), "hidden", counted)
    decoder = model.decoder()
    decoder.read(text(1, 3))
    read(decoder, text(1, 3 * CONTEXT), [1] * 3 * CONTEXT)
    # The prompt, a token that is recorded, and what is left whenever the window moves.
    assert computed == [3, 1] + [5] * 5
    assert isinstance(decoder, CachingDecoder)


def test_two_decoders_of_one_model_do_not_disturb_each_other() -> None:
    model, tokens = transformer(), text(2, CONTEXT)
    first, second = model.decoder(), model.decoder()
    for position in range(CONTEXT):
        piece = slice(position, position + 1)
        found = [first.read(tokens[:1, piece]), second.read(tokens[1:, piece])]
        expected = model.next_log_probabilities(tokens[:, : position + 1])
        np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-5)


def test_decoding_in_float64_agrees_to_its_precision() -> None:
    model, tokens = transformer(), text(1, 3 * CONTEXT)
    model.astype(np.float64)
    found = read(model.decoder(), tokens, [1] * tokens.size)
    expected = read(Decoder(model), tokens, [1] * tokens.size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
