"""Reverse-mode differentiation on NumPy arrays: `Tensor`, the ops, and a check of both.

`tensor.py` is the engine, `ops.py` the ops, `gradcheck.py` compares gradients with differences.
"""

from lmladder.autograd import functional, ops
from lmladder.autograd.capture import CapturedFunction, CapturedLoss
from lmladder.autograd.gradcheck import gradcheck
from lmladder.autograd.tensor import OPS, Tensor, no_grad, op
