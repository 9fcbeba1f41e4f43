"""Looking into models: maps of attention, likeliest tokens, pieces of text, trees of arrays."""

from typing import Any

from lmladder.autograd import no_grad
from lmladder.config import MlpArchitecture, TokenizerConfig, TransformerArchitecture
from lmladder.errors import InputError, RunError
from lmladder.inspection import Part, attention_maps, likeliest_next, parts, pieces
from lmladder.models import Transformer, build_neural
from lmladder.models.ngram import Uniform
from lmladder.rng import stream
from lmladder.text import (
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WordTokenizer,
    build_tokenizer,
    bytes_from_text,
)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

TOKENS = [3, 1, 4, 1, 5, 2]


def transformer(**changed: Any) -> Transformer:
    sizes = {"n_layer": 2, "n_head": 2, "d_model": 8, "context_length": 6, "init_deviation": 0.5}
    settings = {**sizes, "activation": "gelu", "dropout": 0.1, **changed}
    model = build_neural(TransformerArchitecture(**settings), 7, rng=stream(0, "weights"))
    assert isinstance(model, Transformer)
    return model


# --- Attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [{}, {"positions": "rotary", "qk_norm": True}, {"positions": "sinusoidal", "bias": False}],
    ids=["gpt-2", "rotary", "sinusoidal"],
)
def test_the_maps_are_the_weights_by_which_the_layers_gather_values(
    changed: dict[str, Any],
) -> None:
    model = transformer(**changed)
    maps = attention_maps(model, TOKENS)
    assert maps.shape == (2, 2, 6, 6)
    with no_grad():
        positions = np.arange(6)
        x = model.embedded(np.array([TOKENS]), positions)
        for block, weights in zip(model.blocks, maps, strict=True):
            normed = block.attention_norm(x)
            _, _, values = block.attention.queries_keys_values(normed, positions)
            heads = (weights @ values.value[0]).transpose(1, 0, 2).reshape(1, 6, 8)
            gathered = block.attention.output(heads.astype(np.float32))
            np.testing.assert_allclose(gathered.value, block.attention(normed).value, atol=1e-5)
            x = block(x, None)


def test_a_token_looks_at_itself_and_earlier_ones_only_and_at_nothing_else() -> None:
    maps = attention_maps(transformer(), TOKENS)
    np.testing.assert_allclose(maps.sum(axis=-1), 1)
    assert not np.triu(maps, 1).any()
    longer = attention_maps(transformer(), TOKENS[:4])
    np.testing.assert_allclose(longer, maps[:, :, :4, :4], atol=1e-6)


@pytest.mark.parametrize(("tokens", "named"), [([], "empty"), ([0] * 7, "7 tokens.*is 6")])
def test_a_prompt_that_does_not_fit_the_context_is_refused(tokens: list[int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        attention_maps(transformer(), tokens)


def test_a_model_without_attention_has_no_maps() -> None:
    mlp = build_neural(MlpArchitecture(4, 4, [4], "tanh"), 7, rng=stream(0, "weights"))
    for model in (mlp, Uniform(7)):
        with pytest.raises(InputError, match="only a Transformer has attention"):
            attention_maps(model, TOKENS)


def test_weights_that_are_not_numbers_are_told() -> None:
    model = transformer()
    for tensor in model.parameters().values():
        tensor.value *= np.float32(np.nan)
    for ask in (lambda: attention_maps(model, TOKENS), lambda: likeliest_next(model, TOKENS, 3)):
        with pytest.raises(RunError, match="damaged"):
            ask()


# --- What comes next ------------------------------------------------------------------------------


def test_the_likeliest_tokens_come_first_with_their_probabilities() -> None:
    model = transformer()
    tokens, probabilities = likeliest_next(model, TOKENS, 7)
    expected = np.exp(model.next_log_probabilities(np.array([TOKENS]))[0])
    assert sorted(tokens) == list(range(7))
    np.testing.assert_array_equal(probabilities, np.sort(expected)[::-1])
    np.testing.assert_array_equal(probabilities, expected[tokens])
    assert likeliest_next(model, TOKENS, 2)[0] == tokens[:2]


def test_of_equal_tokens_the_first_is_named_first() -> None:
    assert likeliest_next(Uniform(7), [0], 3)[0] == [0, 1, 2]


def test_of_a_long_text_the_end_is_read() -> None:
    model = transformer()
    assert likeliest_next(model, [0, 0, 0, *TOKENS], 7)[0] == likeliest_next(model, TOKENS, 7)[0]


# --- Pieces of text -------------------------------------------------------------------------------


BPE = build_tokenizer(
    TokenizerConfig("bpe", 300), [["Once upon a time a é said → to 𝄞. " * 9]], boundary=None
)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["byte", "bpe"])
@given(text=st.text(max_size=20) | st.text("Oncé →𝄞 upon", max_size=20))
def test_pieces_are_the_text_and_their_nats_add_up(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    nats = stream(len(text), "nats").random(len(tokens))
    found = list(pieces(tokenizer, tokens, nats))
    assert "".join(piece for piece, _ in found) == text
    assert sum(each for _, each in found) == pytest.approx(nats.sum())


def test_a_piece_is_one_character_whatever_its_bytes() -> None:
    text = "aé→𝄞!"
    tokens = ByteTokenizer().encode(text)
    assert [piece for piece, _ in pieces(ByteTokenizer(), tokens, np.zeros(len(tokens)))] == [*text]
    char = CharTokenizer("!aé→𝄞")
    assert [piece for piece, _ in pieces(char, char.encode(text), np.arange(5.0))] == [*text]
    assert [nats for _, nats in pieces(char, char.encode(text), np.arange(5.0))] == [*range(5)]


def test_a_token_that_only_glues_belongs_to_the_word_after_it() -> None:
    text = "Once, (upon) a time"
    words = WordTokenizer(["Once", "upon", "a", "time"], "error")
    tokens = words.encode(text)
    found = [piece for piece, _ in pieces(words, tokens, np.ones(len(tokens)))]
    assert "".join(found) == text
    assert found[:4] == ["Once", ",", " ", "("]
    assert len(found) < len(tokens)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_lose_no_nats(data: bytes) -> None:
    tokens = np.frombuffer(data, np.uint8)
    found = list(pieces(ByteTokenizer(), tokens, np.ones(len(tokens))))
    assert sum(nats for _, nats in found) == len(data)
    for piece, _ in found:
        bytes_from_text(piece)  # so it can be written


# --- Parts ----------------------------------------------------------------------------------------


def test_parts_are_the_modules_with_the_sizes_of_all_below() -> None:
    model = transformer()
    arrays = {name: tensor.value for name, tensor in model.parameters().items()}
    tree = parts("transformer", arrays)
    assert (tree.numbers, tree.bytes) == (model.n_parameters, 4 * model.n_parameters)
    assert [each.name for each in tree.parts] == ["tokens", "positions", "blocks", "norm"]
    blocks = tree.parts[2]
    assert [each.name for each in blocks.parts] == ["0", "1"]
    assert sum(each.numbers for each in tree.parts) == tree.numbers
    assert tree.parts[0] == Part("tokens", None, 56, 224, (Part("weight", (7, 8), 56, 224),))
