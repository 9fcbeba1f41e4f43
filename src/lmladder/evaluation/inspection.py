"""Inspection of a model: its attention, and what it predicts of pieces of text.

The functions return arrays and text; `lmladder.reports` shows them.
"""

from collections.abc import Iterator

from lmladder import kernels
from lmladder.autograd import no_grad
from lmladder.data import Tokenizer
from lmladder.models.contract import log_softmax
from lmladder.models.transformer import Transformer
from lmladder.system.arrays import FloatArray, IntArray

import numpy as np

MAX_PIECE = 8  # tokens; a character has at most 4 bytes, but bytes that are not UTF-8 never end


def attention_maps(model: Transformer, tokens: IntArray) -> FloatArray:
    """Return the attention weights of every head of a Transformer on a text.

    Parameters
    ----------
    tokens : at least one, at most the context of the model

    Returns
    -------
    float64 array, shape (layers, heads, time, time); row t of a map sums to 1 over the positions up
    to t, to which position t attends
    """
    maps = []
    positions = np.arange(len(tokens))
    with no_grad():
        x = model.embedded(np.array([tokens], np.int64), positions)
        for block in model.blocks:
            read = block.attention_input(x, positions)
            query, key, _ = block.attention.queries_keys_values(read, positions)
            window = block.attention.window or len(tokens)
            maps.append(_causal_weights(query.value[0], key.value[0], window))
            x = block(x, None, positions)
    return np.stack(maps)


def pointer_map(model: Transformer, tokens: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the attention weights of the pointer on a text, and the probability that it adds.

    Returns
    -------
    (time, time) : as a map of `attention_maps`; empty if the model has no pointer
    (time - 1,) : by how much the pointer increases the probability of the next token
    """
    if (pointer := model.pointer) is None:
        return np.empty((0, 0)), np.zeros(len(tokens) - 1)
    positions, steps = np.arange(len(tokens)), np.arange(len(tokens) - 1)
    with no_grad():
        text = np.array([tokens], np.int64)
        hidden = model.hidden(text)
        query, key = pointer.query(hidden), pointer.before(pointer.key(hidden), positions)
        both = model.logits(text).value[0], model.head(hidden).value[0]
    mixed, alone = (np.exp(log_softmax(each))[steps, tokens[1:]] for each in both)
    return _causal_weights(query.value, key.value, len(tokens))[0], mixed - alone


def _causal_weights(query: FloatArray, key: FloatArray, window: int) -> FloatArray:
    """softmax(q k^T / sqrt(size), masked): (heads, time, size) twice -> (heads, time, time)."""
    scores = kernels.matmul(query, key.swapaxes(1, 2)).astype(np.float64)
    scores /= query.shape[-1] ** 0.5
    time = query.shape[1]
    seen = np.tri(time, dtype=bool) & ~np.tri(time, k=-window, dtype=bool)
    scores[:, ~seen] = -np.inf
    weights: FloatArray = np.exp(log_softmax(scores))
    return weights


def pieces(tokenizer: Tokenizer, tokens: IntArray, nats: FloatArray) -> Iterator[tuple[str, float]]:
    """Yield the text of tokens, with the sum of their nats, in pieces of whole characters.

    A piece is one token, or several where one alone is only a part of a character, or belongs to
    the next one, such as a word tokenizer's sign for a missing space. Bytes that are not UTF-8
    become U+FFFD.
    """
    start = 0
    for end in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[start:end])
        unfinished = not text or text.endswith("\N{REPLACEMENT CHARACTER}")
        if not unfinished or end - start == MAX_PIECE or end == len(tokens):
            yield text, float(nats[start:end].sum())
            start = end
