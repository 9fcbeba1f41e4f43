"""The sizes of Transformer that are timed, and the settings of their training.

All engines train one architecture: pre-norm blocks with biases, tanh-GELU, a head tied to the
token embeddings, no dropout; in float32, by AdamW with decay on matrices only, gradients clipped at
a common norm. They begin with the same weights and read the same batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmladder.system.arrays import IntArray

LEARNING_RATE, BETAS, EPSILON, WEIGHT_DECAY = 1e-3, (0.9, 0.95), 1e-8, 0.1
CLIP_NORM = 1.0
NORM_EPSILON = 1e-5
BATCHES = 8  # different ones, taken in turns


@dataclass(frozen=True)
class Size:
    """A Transformer's shape and the number of sequences in its batch."""

    vocabulary: int
    context: int
    layers: int
    heads: int
    width: int
    batch: int

    @property
    def tokens(self) -> int:
        """Predicted in one step."""
        return self.batch * self.context

    def changed(self, changes: Iterable[str]) -> Size:
        """This size with changes such as "context=128"; ValueError for what is none."""
        numbers = {}
        for change in changes:
            name, _, number = change.partition("=")
            names = [field.name for field in fields(self)]
            if name not in names or not number.isdecimal() or int(number) < 1:
                raise ValueError(f"{change!r} is not KEY=NUMBER with a key of {', '.join(names)}")
            numbers[name] = int(number)
        return replace(self, **numbers)

    def batches(self) -> IntArray:
        """Random tokens, low ones the likelier, so that there is a little to learn.

        Shape (BATCHES, batch, context + 1).
        """
        import numpy as np

        shape = (2, BATCHES, self.batch, self.context + 1)
        return np.random.default_rng(0).integers(0, self.vocabulary, shape).min(axis=0)


SIZES = {
    "micro": Size(27, 16, 1, 4, 16, 1),
    "nano": Size(65, 64, 4, 4, 128, 12),
    "seed0": Size(256, 64, 2, 4, 64, 16),
    "small": Size(65, 128, 4, 4, 128, 32),
    "tinylm": Size(65, 256, 6, 6, 192, 16),
}


def product_flops(size: Size, *, causal: bool = True) -> int:
    """Floating-point operations of the matrix products in one training step; nothing else counts.

    A product of (n, k) and (k, m) takes 2 n k m. Forward, with d = width, each token meets

        12 d^2 weights a layer      query, key, value and output d^2 each, feed-forward 2 * 4 d^2
        vocabulary * d              the head

    and each pair of a query and a key that it sees, in each layer, costs a product of d for the
    score and one of d for the weighted sum, over all heads together. A row has context^2 pairs, of
    which causal attention needs context (context + 1) / 2. Backward, each product has two: one for
    the gradient of either factor, also in the first layer, as the embeddings are learned. Scores
    that an engine computes again instead of keeping them do not count: they are its own choice.
    """
    d, length = size.width, size.context
    weights = size.layers * 12 * d * d + size.vocabulary * d
    pairs = length * (length + 1) // 2 if causal else length * length
    forward = 2 * size.tokens * weights + size.batch * size.layers * pairs * 2 * (2 * d)
    return 3 * forward


def held_bytes(size: Size) -> int:
    """Memory that one training step cannot do without, unless it computes things twice.

    Of each weight its value, gradient and two running means. Of each token, at the end of the
    forward pass, what the backward pass reads: in each layer 16 d numbers (the inputs of both
    norms, of query, key and value together, and of the expansion: 4 d; queries, keys, values and
    their result: 4 d; before and after the activation: 8 d), the inputs of the last norm and of
    the head, 2 d, and the logits.
    """
    d = size.width
    weights = (size.vocabulary + size.context) * d + 2 * d
    weights += size.layers * (12 * d * d + 13 * d)
    activations = size.tokens * (size.layers * 16 * d + 2 * d + size.vocabulary)
    return 4 * (4 * weights + activations)
