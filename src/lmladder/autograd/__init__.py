"""Reverse-mode differentiation on NumPy arrays.

`tensor.py` is the engine, `ops.py` and `functional.py` define the ops, `gradcheck.py` compares
gradients with differences, and `capture.py` records a loss in order to repeat it faster.
"""

from lmladder.autograd import functional, ops
from lmladder.autograd.capture import CapturedFunction, CapturedLoss
from lmladder.autograd.gradcheck import gradcheck
from lmladder.autograd.tensor import OPS, Tensor, no_grad, op
