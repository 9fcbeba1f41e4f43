"""Gradients against central differences: the check that no pullback can talk its way out of."""

from collections.abc import Callable, Sequence

from lmladder.autograd.tensor import Tensor, no_grad
from lmladder.system.arrays import FloatArray

import numpy as np

STEP = 1e-6  # for float64: the error of the difference, about STEP^2, meets rounding, 1e-16 / STEP
TOLERANCE = 1e-6


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[FloatArray | Tensor],
    *,
    rng: np.random.Generator,
    directions: int = 3,
    step: float = STEP,
) -> float:
    """Largest relative error of `function`'s gradient, over random directions.

    The result is contracted with a random upstream gradient: the sum of a softmax, for one, is
    constant, so summing would let any softmax gradient pass. The derivative along a direction d,
    (f(x + step d) - f(x - step d)) / (2 step), is compared with the gradient's product with d, for
    each input alone, so that no input hides behind another.

    Parameters
    ----------
    function : takes Tensors (as many as `inputs`) and returns one Tensor
    inputs : float64 arrays, or leaves of which `function` may use the very objects, as a model does
        its parameters; their values are moved for the differences and put back, `grad` is new
    directions : for each input

    Returns
    -------
    float
        max |difference - product| / max(1, |difference|, |product|); below TOLERANCE is right,
        nan is not.
    """
    if directions < 1:
        raise ValueError(f"gradcheck wants a direction at least, not {directions}")
    tensors = [
        each if isinstance(each, Tensor) else Tensor(each, requires_grad=True) for each in inputs
    ]
    for tensor in tensors:
        if tensor.dtype != np.float64:
            raise TypeError(f"gradcheck wants float64, not {tensor.dtype}: differences need it")
        if not (tensor.requires_grad and tensor.is_leaf):
            raise ValueError("gradcheck wants arrays, or leaves with requires_grad")
        tensor.grad = None
    out = function(*tensors)
    upstream = rng.standard_normal(out.shape)
    out.backward(np.asarray(upstream))

    def contracted() -> float:
        with no_grad():
            return float((function(*tensors).value * upstream).sum())

    worst = 0.0
    for tensor in tensors:
        gradient = np.zeros_like(tensor.value) if tensor.grad is None else tensor.grad
        original = tensor.value
        try:
            for _ in range(directions):
                direction = rng.standard_normal(original.shape)
                tensor.value = original + step * direction
                above = contracted()
                tensor.value = original - step * direction
                below = contracted()
                difference = (above - below) / (2 * step)
                product = float((gradient * direction).sum())
                scale = max(1.0, abs(difference), abs(product))
                worst = np.maximum(worst, abs(difference - product) / scale)  # max would lose nan
        finally:
            tensor.value = original
    return float(worst)
