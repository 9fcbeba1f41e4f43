"""Inspection of models: attention maps, pieces of text."""

from typing import Any

from lmladder.autograd import no_grad
from lmladder.data import (
    ByteTokenizer,
    Tokenizer,
    WordTokenizer,
    build_tokenizer,
)
from lmladder.data.tokenizers.bpe import BpeSettings
from lmladder.evaluation.inspection import attention_maps, pieces, pointer_map
from lmladder.system.streams import stream
from tests.models.examples import TRANSFORMER, build, changed

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

TOKENS = np.array([3, 1, 4, 1, 5, 2])


# --- Attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"positions": "rotary", "qk_norm": True}, {"convolution": 2}], ids=str
)
def test_the_maps_are_the_weights_by_which_the_layers_sum_values(changes: dict[str, Any]) -> None:
    model = build(changed(TRANSFORMER, init_std=0.5, **changes), 7, spread=0.1)
    maps = attention_maps(model, TOKENS)
    assert maps.shape == (2, 2, 6, 6)
    np.testing.assert_allclose(maps.sum(axis=-1), 1)
    assert not np.triu(maps, 1).any()
    np.testing.assert_allclose(attention_maps(model, TOKENS[:4]), maps[:, :, :4, :4], atol=1e-6)
    with no_grad():
        positions = np.arange(6)
        x = model.embedded(np.array([TOKENS]), positions)
        for block, weights in zip(model.blocks, maps, strict=True):
            normed = block.attention_input(x, positions)
            _, _, values = block.attention.queries_keys_values(normed, positions)
            heads = (weights @ values.value[0]).transpose(1, 0, 2).reshape(1, 6, 8)
            summed = block.attention.output(heads.astype(np.float32))
            np.testing.assert_allclose(
                summed.value, block.attention(normed, positions).value, atol=1e-5
            )
            x = block(x, None, positions)


def test_the_pointer_adds_its_weights_on_the_next_token() -> None:
    model = build(changed(TRANSFORMER, init_std=0.5, pointer=4), 7, spread=0.3)
    weights, added = pointer_map(model, TOKENS)
    with no_grad():
        hidden = model.hidden(np.array([TOKENS]))
        head = np.exp(model.head(hidden).value[0][:-1])
    gate = hidden.value[0][:-1] @ model.pointer.gate.value + model.pointer.gate_bias.value
    alone = (head / head.sum(axis=1, keepdims=True))[np.arange(5), TOKENS[1:]]
    pointed = (weights[:-1] * (TOKENS[1:, None] == TOKENS)).sum(axis=1)
    np.testing.assert_allclose(added, (pointed - alone) / (1 + np.exp(-gate[:, 0])), atol=1e-5)


# --- Pieces of text -------------------------------------------------------------------------------


BPE = build_tokenizer(
    BpeSettings(name="bpe", vocabulary_size=300), [["Once upon a time a é said → to 𝄞. " * 9]]
)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["byte", "bpe"])
@given(text=st.text(max_size=20) | st.text("Oncé →𝄞 upon", max_size=20))
def test_pieces_are_the_text_and_their_nats_the_total(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    nats = stream(len(text), "nats").random(len(tokens))
    found = list(pieces(tokenizer, tokens, nats))
    assert "".join(piece for piece, _ in found) == text
    assert sum(each for _, each in found) == pytest.approx(nats.sum())


def test_a_token_without_text_belongs_to_the_word_after_it() -> None:
    text = "Once, (upon) a time"
    words = WordTokenizer(["Once", "upon", "a", "time"], "error")
    tokens = words.encode(text)
    found = [piece for piece, _ in pieces(words, tokens, np.ones(len(tokens)))]
    assert "".join(found) == text
    assert found[:4] == ["Once", ",", " ", "("]
    assert len(found) < len(tokens)
