"""Muon: momentum, orthogonalised (Jordan et al. 2024, "Muon: an optimizer for hidden layers")."""

from collections.abc import Collection, Mapping

from lmladder.arrays import Array, FloatArray
from lmladder.autograd import Tensor
from lmladder.kernels import share
from lmladder.optim.adam import AdamW, copy_state

import numpy as np

# Quintic iteration that takes singular values in (0, 1] near 1 in five rounds (Jordan 2024).
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class Muon:
    """Muon for the hidden matrices, AdamW for all else (embeddings, norms, biases).

    Parameters
    ----------
    parameters : the Tensors to be learnt, by name; their values are changed in place
    matrices : names of those that Muon takes; each has two axes, (in, out)
    matrix_learning_rate : of Muon, of a step whose schedule factor is 1
    momentum : decay of the sum of gradients, looked at in Nesterov's way
    learning_rate, betas, epsilon : of AdamW
    weight_decay : of the matrices of both, decoupled
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        *,
        matrices: Collection[str],
        matrix_learning_rate: float,
        momentum: float,
        learning_rate: float,
        betas: tuple[float, float],
        epsilon: float,
        weight_decay: float,
    ):
        rest = {name: each for name, each in parameters.items() if name not in matrices}
        self.adamw = AdamW(
            rest,
            learning_rate=learning_rate,
            betas=betas,
            epsilon=epsilon,
            weight_decay=weight_decay,
        )
        self.matrices = {name: parameters[name] for name in matrices}
        self.matrix_learning_rate = matrix_learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.momenta = {name: np.zeros_like(each.value) for name, each in self.matrices.items()}

    def step(self, number: int, *, factor: float = 1.0, gradient_scale: float = 1.0) -> None:
        """Change every parameter that has a gradient; see `Adam.step`."""
        self.adamw.step(number, factor=factor, gradient_scale=gradient_scale)
        rate = self.matrix_learning_rate * factor
        with_gradient = [name for name, each in self.matrices.items() if each.grad is not None]

        def update(index: int) -> None:
            name = with_gradient[index]
            tensor, momentum = self.matrices[name], self.momenta[name]
            assert tensor.grad is not None
            grad = tensor.grad * tensor.dtype.type(gradient_scale)
            momentum *= self.momentum
            momentum += grad
            grad += momentum * self.momentum
            n_in, n_out = tensor.shape
            if self.weight_decay:
                tensor.value *= tensor.dtype.type(1 - rate * self.weight_decay)
            tensor.value -= orthogonalise(grad) * (rate * max(1, n_out / n_in) ** 0.5)

        share(update, len(with_gradient))

    def state(self) -> dict[str, FloatArray]:
        """Momenta and AdamW's running means, by name."""
        momenta = {f"momentum.{name}": array for name, array in self.momenta.items()}
        return {**momenta, **self.adamw.state()}

    def load_state(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state` returned. ValueError if names or shapes differ."""
        copy_state(self.state(), arrays)


def orthogonalise(matrix: FloatArray) -> FloatArray:
    """The matrix with its singular values moved near 1, roughly: between 0.7 and 1.2.

    For G = U S V^T this is nearly U V^T, found without a decomposition: each round applies the odd
    polynomial a s + b s^3 + c s^5 to all singular values at once.
    """
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.T if tall else x
