"""An op of your own, log(1 + exp(a)): its value, its pullback, and the proof that they match."""

from lmladder.autograd import Tensor, gradcheck, op

import numpy as np


@op
def softplus(a):
    def softplus_pullback(grad):
        return (grad * np.exp(a - np.logaddexp(a, 0)),)  # times the sigmoid of a

    return np.logaddexp(a, 0), softplus_pullback


x = Tensor(np.array([-1.0, 0.0, 2.0]), requires_grad=True)
softplus(x).sum().backward()
print("gradient of softplus:", x.grad.round(4))
print(f"relative error: {gradcheck(softplus, [x], rng=np.random.default_rng(0)):.0e}")
