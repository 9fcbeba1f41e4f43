"""Looking into a model: where its attention goes, what it expects next, what it is made of.

Arrays and text go out; how they are shown is told in `reports`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lmladder.arrays import Array, FloatArray, IntArray
from lmladder.autograd import no_grad
from lmladder.errors import InputError, RunError
from lmladder.models import LanguageModel, Transformer
from lmladder.text import Tokenizer

import numpy as np

LONGEST_PIECE = 8  # tokens; a character has at most 4 bytes, and text that is not UTF-8 no end


def attention_maps(model: LanguageModel, tokens: Sequence[int] | IntArray) -> FloatArray:
    """How every head of a Transformer spreads its attention over a text.

    Returns
    -------
    float64 array, shape (layers, heads, time, time); row t of a map sums to 1 over the positions up
    to t, which the vector at position t is gathered from

    Raises
    ------
    InputError
        If the model has no attention, or the text is empty or longer than the context.
    RunError
        If a weight is not a number.
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
            query, key, _ = block.attention.queries_keys_values(block.attention_norm(x), positions)
            maps.append(_causal_weights(query.value[0], key.value[0]))
            x = block(x, None)
    return _finite(np.stack(maps))


def _causal_weights(query: FloatArray, key: FloatArray) -> FloatArray:
    """softmax(q k^T / sqrt(size), masked): (heads, time, size) twice -> (heads, time, time)."""
    scores = query.astype(np.float64) @ key.astype(np.float64).transpose(0, 2, 1)
    scores /= query.shape[-1] ** 0.5
    scores[:, ~np.tri(query.shape[1], dtype=bool)] = -np.inf
    weights: FloatArray = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def likeliest_next(
    model: LanguageModel, tokens: Sequence[int] | IntArray, count: int
) -> tuple[list[int], FloatArray]:
    """The tokens that most probably come next, likeliest first, and their probabilities.

    Of a text that is longer than the model's context, only the end is read.

    Raises
    ------
    InputError
        If the text is empty.
    RunError
        If a probability is not a number.
    """
    _require_tokens(tokens)
    longest = model.max_length or max(1, model.context_length)
    text = np.array([tokens[-longest:]], np.int64)
    probabilities = _finite(np.exp(model.next_log_probabilities(text)[0]))
    order = np.argsort(-probabilities, kind="stable")[:count]
    return order.tolist(), probabilities[order]


def pieces(tokenizer: Tokenizer, tokens: IntArray, nats: FloatArray) -> Iterator[tuple[str, float]]:
    """The text that tokens stand for, with the sum of their nats, in pieces of whole characters.

    A piece is one token, or several where one alone is but a part of a character, or is there only
    for the one after it, as a word tokenizer's sign for a missing space. Bytes that are not UTF-8
    become U+FFFD.
    """
    start = 0
    for end in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[start:end])
        unfinished = not text or text.endswith("\N{REPLACEMENT CHARACTER}")
        if not unfinished or end - start == LONGEST_PIECE or end == len(tokens):
            yield text, float(nats[start:end].sum())
            start = end


@dataclass(frozen=True)
class Part:
    """A part of a model: an array, or a module and what it is made of.

    Attributes
    ----------
    name : within the part above it
    shape : of an array; None for a module
    numbers, bytes : of it and all below
    parts : what it is made of, by their order in the model
    """

    name: str
    shape: tuple[int, ...] | None
    numbers: int
    bytes: int
    parts: tuple["Part", ...] = ()


def parts(name: str, arrays: Mapping[str, Array]) -> Part:
    """The tree that the dotted names of a model's arrays describe."""
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
    return Part(name, None, sum(p.numbers for p in found), sum(p.bytes for p in found), found)


def _require_tokens(tokens: Sequence[int] | IntArray) -> None:
    if len(tokens) == 0:
        raise InputError("the prompt is empty; give at least one token")


def _finite(values: FloatArray) -> FloatArray:
    if not np.isfinite(values).all():
        raise RunError("the model's probabilities are not numbers; its weights are damaged")
    return values
