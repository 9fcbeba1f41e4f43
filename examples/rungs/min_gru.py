"""The minimal gated recurrent unit (Feng et al. 2024), computed by a parallel scan."""

from lmladder.autograd import Tensor, gradcheck, op
from lmladder.autograd.functional import sigmoid
from lmladder.models import NeuralLanguageModel
from lmladder.nn import Embedding, Linear, Module, RmsNorm
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.settings import Count, Settings

import numpy as np
from pydantic import Field


def linear_recurrence(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return h[t] = a[t] h[t - 1] + b[t] along axis 1, with h[-1] = 0.

    After each pass, h[t] covers twice as many steps, so log2(time) passes suffice (Hillis and
    Steele 1986). Shapes: (batch, time, size) twice -> the same.
    """
    a, h, step = a.copy(), b.copy(), 1
    while step < a.shape[1]:
        h[:, step:] = h[:, step:] + a[:, step:] * h[:, :-step]
        a[:, step:] = a[:, step:] * a[:, :-step]
        step *= 2
    return h


@op
def scan(a, b):
    """Do what `linear_recurrence` does; its backward pass is the same recurrence from the end."""
    h = linear_recurrence(a, b)

    def scan_pullback(grad):
        after, before = np.zeros_like(a), np.zeros_like(h)
        after[:, :-1], before[:, 1:] = a[:, 1:], h[:, :-1]
        grad_b = np.flip(linear_recurrence(np.flip(after, 1), np.flip(grad, 1)), 1)
        return grad_b * before, grad_b

    return h, scan_pullback


class MinGruSettings(Settings):
    """What determines the shape of the model; a rung also has the settings of its training."""

    context_length: Count = Field(description="maximum number of tokens that the model reads")
    n_layer: Count = Field(description="number of blocks")
    d_model: Count = Field(description="elements of a token's vector, and of a state")


class Block(Module):
    """x + recurrence(norm(x)), then x + feed_forward(norm(x)): (batch, time, size) -> the same."""

    def __init__(self, size: int, *, rng: np.random.Generator):
        self.norms = [RmsNorm(size), RmsNorm(size)]
        self.update, self.candidate = Linear(size, size, rng=rng), Linear(size, size, rng=rng)
        self.output = Linear(size, size, rng=rng)
        self.up_proj = Linear(size, 3 * size, rng=rng)
        self.down_proj = Linear(3 * size, size, rng=rng)

    def __call__(self, x: Tensor) -> Tensor:
        inputs = self.norms[0](x)
        update = sigmoid(self.update(inputs))  # which depends on no state: hence the scan
        x = x + self.output(scan(1 - update, update * self.candidate(inputs)))
        y = self.up_proj(self.norms[1](x))
        return x + self.down_proj(y * sigmoid(y))


class MinGru(NeuralLanguageModel):
    """Blocks of a linear recurrence with gates, and feed-forward layers."""

    Settings = MinGruSettings

    label = "MinGRU"

    def __init__(self, settings: MinGruSettings, vocabulary_size: int, *, rng: np.random.Generator):
        self.vocabulary_size = vocabulary_size
        self.context_length = self.max_length = settings.context_length
        self.embedding = Embedding(vocabulary_size, settings.d_model, rng=rng, std=1.0)
        self.blocks = [Block(settings.d_model, rng=rng) for _ in range(settings.n_layer)]
        self.norm = RmsNorm(settings.d_model)
        self.unembedding = Linear(settings.d_model, vocabulary_size, rng=rng, std=0.02)

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the vector after each token: (sequences, length) -> (..., d_model)."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


if __name__ == "__main__":  # the gradients of the op, compared with differences
    rng = np.random.default_rng(0)
    for shape in ((2, 5, 3), (1, 1, 1), (0, 2, 2)):  # sequences, time, size
        error = gradcheck(scan, list(rng.standard_normal((2, *shape))), rng=rng)
        print(f"scan of {shape}: relative error {error:.0e}")
