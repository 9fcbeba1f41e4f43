"""Exercise 1: an op and its gradient."""

from lmladder.autograd import op

import numpy as np


@op
def gated(a, b):
    """Return the value of a * sigmoid(b), elementwise, and its pullback.

        sigmoid(b) = 1 / (1 + exp(-b))        d sigmoid(b) / d b = sigmoid(b) (1 - sigmoid(b))

    This is a gate: where b is large, a passes; where b is far below 0, the value is almost 0.

    Parameters
    ----------
    a, b : float arrays of one shape, or of shapes that NumPy broadcasts, such as (3, 4) and (4,)

    Returns
    -------
    value : array of the broadcast shape
    pullback : function of `grad`, an array of the shape of `value`: the gradient of some loss with
        respect to it. Returns a tuple of two arrays, the gradients of the loss with respect to a
        and to b, by the chain rule. Both may have the shape of `grad`: @op undoes broadcasting.
    """
    raise NotImplementedError  # write this
