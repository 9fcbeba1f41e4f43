"""Inspection of a model: its attention, its next tokens, and its arrays.

The functions return arrays and text; `lmladder.reports` shows them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lmladder.autograd import no_grad
from lmladder.data import Tokenizer
from lmladder.models import LanguageModel
from lmladder.models.decoding import log_softmax
from lmladder.models.transformer import Transformer
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError, RunError

import numpy as np

MAX_PIECE = 8  # tokens; a character has at most 4 bytes, but bytes that are not UTF-8 never end


def has_attention(model: LanguageModel) -> bool:
    """Return whether `attention_maps` applies to this model."""
    return isinstance(model, Transformer)


def attention_maps(model: LanguageModel, tokens: Sequence[int] | IntArray) -> FloatArray:
    """Return the attention weights of every head of a Transformer on a text.

    Returns
    -------
    float64 array, shape (layers, heads, time, time); row t of a map sums to 1 over the positions up
    to t, to which position t attends

    Raises
    ------
    InputError
        If the model has no attention, or the text is empty or longer than the context.
    RunError
        If a weight is not finite.
    """
    if not isinstance(model, Transformer):
        raise InputError("only a Transformer has attention; this model has none")
    _require_tokens(tokens)
    if len(tokens) > model.context_length:
        raise InputError(
            f"the prompt has {len(tokens)} tokens; the model's context is {model.context_length}"
        )
    maps = []
    positions = np.arange(len(tokens))
    with no_grad():
        x = model.embedded(np.array([tokens], np.int64), positions)
        for block in model.blocks:
            read = block.attention_input(x, positions)
            query, key, _ = block.attention.queries_keys_values(read, positions)
            maps.append(_causal_weights(query.value[0], key.value[0]))
            x = block(x, None, positions)
    return _finite(np.stack(maps))


def _causal_weights(query: FloatArray, key: FloatArray) -> FloatArray:
    """softmax(q k^T / sqrt(size), masked): (heads, time, size) twice -> (heads, time, time)."""
    scores = query.astype(np.float64) @ key.astype(np.float64).transpose(0, 2, 1)
    scores /= query.shape[-1] ** 0.5
    scores[:, ~np.tri(query.shape[1], dtype=bool)] = -np.inf
    weights: FloatArray = np.exp(log_softmax(scores))
    return weights


def most_likely_next(
    model: LanguageModel, tokens: Sequence[int] | IntArray, count: int
) -> tuple[list[int], FloatArray]:
    """Return the most likely next tokens, in descending order, and their probabilities.

    Of a text that is longer than the model's context, only the end is read.

    Raises
    ------
    InputError
        If the text is empty.
    RunError
        If a probability is not finite.
    """
    _require_tokens(tokens)
    longest = model.max_length or max(1, model.context_length)
    text = np.array([tokens[-longest:]], np.int64)
    probabilities = _finite(np.exp(model.next_log_probabilities(text)[0]))
    order = np.argsort(-probabilities, kind="stable")[:count]
    return order.tolist(), probabilities[order]


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


@dataclass(frozen=True)
class Part:
    """A part of a model: an array, or a module with its parts.

    Attributes
    ----------
    name : within the part above it
    shape : of an array; None for a module
    elements, bytes : of it and all below
    parts : in their order in the model
    """

    name: str
    shape: tuple[int, ...] | None
    elements: int
    bytes: int
    parts: tuple["Part", ...] = ()


def parts(name: str, arrays: Mapping[str, Array]) -> Part:
    """Return the tree that the dotted names of a model's arrays describe."""
    below: dict[str, dict[str, Array]] = {}
    for path, array in arrays.items():
        first, _, rest = path.partition(".")
        below.setdefault(first, {})[rest] = array
    found = tuple(
        Part(first, inner[""].shape, inner[""].size, inner[""].nbytes)
        if "" in inner
        else parts(first, inner)
        for first, inner in below.items()
    )
    return Part(name, None, sum(p.elements for p in found), sum(p.bytes for p in found), found)


def _require_tokens(tokens: Sequence[int] | IntArray) -> None:
    if len(tokens) == 0:
        raise InputError("the prompt is empty; give at least one token")


def _finite(values: FloatArray) -> FloatArray:
    if not np.isfinite(values).all():
        raise RunError("the model's probabilities are not finite; its weights are damaged")
    return values
