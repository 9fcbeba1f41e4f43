"""Compare gradients with central differences."""

from collections.abc import Callable, Sequence

from lmladder.autograd.tensor import Tensor, no_grad
from lmladder.system.arrays import FloatArray

import numpy as np

STEP = 1e-6  # balances the errors of the difference, about STEP^2, and of rounding, 1e-16 / STEP
TOLERANCE = 1e-6
DIRECTIONS = 3  # for each input


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[FloatArray | Tensor],
    *,
    rng: np.random.Generator,
) -> float:
    """Return the largest relative error of the gradient of a function over random directions.

    The upstream gradient is random, because a sum may hide errors: that of a softmax is constant,
    so its gradient is 0. The derivative along a direction d, (f(x + h d) - f(x - h d)) / (2 h)
    with h = 1e-6, is compared with the product of the gradient and d for each input separately.

    Parameters
    ----------
    function : function of as many Tensors as `inputs` that returns a Tensor
    inputs : float64 arrays, or leaves, which `function` may also use directly, as a model uses its
        parameters; their values are changed temporarily, their `grad` is replaced
    rng : the source of the directions and of the upstream gradient

    Returns
    -------
    float
        max |difference - product| / max(1, |difference|, |product|), which is less than TOLERANCE
        if the gradient is correct.

    Raises
    ------
    TypeError
        If an input is not float64.
    ValueError
        If an input is a result or requires no gradient.
    """
    tensors = [
        each if isinstance(each, Tensor) else Tensor(each, requires_grad=True) for each in inputs
    ]
    for tensor in tensors:
        if tensor.dtype != np.float64:
            raise TypeError(f"gradcheck expects float64, got {tensor.dtype}")
        if not (tensor.requires_grad and tensor.is_leaf):
            raise ValueError("gradcheck expects arrays, or leaves with requires_grad")
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
            for _ in range(DIRECTIONS):
                direction = rng.standard_normal(original.shape)
                tensor.value = original + STEP * direction
                above = contracted()
                tensor.value = original - STEP * direction
                below = contracted()
                difference = (above - below) / (2 * STEP)
                product = float((gradient * direction).sum())
                scale = max(1.0, abs(difference), abs(product))
                # unlike Python's max, np.maximum propagates nan
                worst = np.maximum(worst, abs(difference - product) / scale)
        finally:
            tensor.value = original
    return float(worst)
