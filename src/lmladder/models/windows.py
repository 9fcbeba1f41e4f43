"""The windows in which a model reads a long text, and the context that each token has.

A text is scored as the continuation of the text before it (validation text after training text),
so that its first token has a context too. A model that reads at most L tokens reads the text in
windows of L; each window after the first begins so early that its first scored token has
`min_context` of L as context. Every token is scored in exactly one window. The number of windows
in a batch changes memory, and scores by rounding only.

With `crop`, windows do not overlap and each begins with one token of context, so that a token has
half a window of context on average. The mean is then comparable with that of nanoGPT, which is over
all positions of random crops.
"""

from collections.abc import Callable

from lmladder.kernels import parallel_for
from lmladder.models.contract import LanguageModel
from lmladder.system.arrays import FloatArray, IntArray

import numpy as np


def read_tokens(
    model: LanguageModel,
    read: Callable[[IntArray], FloatArray],
    tokens: IntArray,
    preceding: IntArray,
    *,
    min_context: float,
    batch_tokens: int,
    crop: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> FloatArray:
    """Return what a model reads of each token, with the context protocol: (len(tokens), ...).

    Parameters
    ----------
    model : any model, which determines the windows; with the attribute `is_concurrent`, threads
        read batches at the same time, else one thread reads them in turn
    read : such as `model.nll`: (sequences, length) -> (sequences, length - 1, ...)
    tokens : the text, 1-d
    preceding : the text before it, 1-d, at least one token; only its end is read
    min_context : least fraction of the model's context, in [0, 1), that precedes each scored token
        of a later window
    batch_tokens : approximate number of tokens read at a time; bounds memory
    crop : the length of windows that do not overlap, whatever `min_context` is; None: they overlap
    advance : called with the number of newly scored tokens after each batch
    """
    if len(preceding) == 0:
        raise ValueError("scoring requires at least one token before the text")
    if len(tokens) == 0:
        return np.empty(0)
    if crop is not None:
        window, overlap = min(crop, model.max_length or crop), 0
    elif model.max_length is None:  # any length: one window per batch
        window, overlap = model.context_length + batch_tokens, model.context_length
    else:
        window = model.max_length
        overlap = min(window - 1, int(np.ceil(window * min_context)))
    lead = min(len(preceding), max(overlap, 1))
    stream = np.concatenate([preceding[len(preceding) - lead :], tokens]).astype(np.int64)
    n_targets = len(stream) - 1
    window = min(window, n_targets)
    # All windows have one length, so that they fit one batch: the last one ends with the text.
    last, step = n_targets - window, max(1, window - overlap)
    starts = np.append(np.arange(0, last, step), last)
    # Of each window, the number of its first tokens that the windows before it score.
    known = np.append(0, starts[:-1] + window) - starts
    size = max(1, batch_tokens // window)
    found: list[FloatArray] = [np.empty(0)] * -(-len(starts) // size)

    def read_batch(index: int) -> None:
        batch = slice(index * size, (index + 1) * size)
        values = read(stream[starts[batch, None] + np.arange(window + 1)])
        scored = [each[first:] for each, first in zip(values, known[batch], strict=True)]
        found[index] = np.concatenate(scored)
        advance(len(found[index]))

    if getattr(model, "is_concurrent", False):
        parallel_for(read_batch, len(found))
    else:
        for index in range(len(found)):
            read_batch(index)
    return np.concatenate(found)[lead - 1 :]
