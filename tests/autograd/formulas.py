"""The formula of every op in NumPy, which an object array of Values differentiates as well.

A formula has the arguments of its op. On Values, the engine of single numbers, it gives the value
of the op and its gradients. Nothing here is shared with the Tensors.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeAlias
from unittest.mock import patch

from examples.scalar import Value
from lmladder.autograd import functional, ops
from lmladder.system.arrays import Array, FloatArray
from tests.autograd.cases import Case

import numpy as np

Values: TypeAlias = Any  # an object array of Values

EPSILON = 1e-5


def values_of(numbers: Any) -> Values:
    """Return an array of Values; numbers become leaves."""
    lift = np.frompyfunc(lambda each: each if isinstance(each, Value) else Value(each), 1, 1)
    return np.asarray(lift(np.asarray(numbers, object)), object)


def data_of(values: Values) -> FloatArray:
    return np.vectorize(lambda value: value.data, otypes=[float])(values)


def gradients_of(values: Values) -> FloatArray:
    return np.vectorize(lambda value: value.grad, otypes=[float])(values)


def run_with(functions: Mapping[str, Callable[..., Any]], case: Case, *inputs: Any) -> Any:
    """Run a case with these functions in place of the ops that it calls."""
    with ExitStack() as stack:
        for module in (ops, functional):
            here: Any = {name: each for name, each in functions.items() if hasattr(module, name)}
            stack.enter_context(patch.multiple(module, **here))
        is_op = getattr(case.function, "__name__", "") == case.op
        function = functions[case.op] if is_op else case.function
        return function(*inputs, **case.options)


def _erf(x: Value) -> Value:
    return Value(math.erf(x.data), (x,), (2 / math.sqrt(math.pi) * math.exp(-(x.data**2)),))


def gelu(a: Values) -> Values:
    return a * (1 + np.frompyfunc(_erf, 1, 1)(a / 2**0.5)) / 2


def gelu_tanh(a: Values) -> Values:
    return a * (1 + np.tanh((2 / math.pi) ** 0.5 * (a + 0.044715 * a**3))) / 2


def sigmoid(a: Values) -> Values:
    return 1 / (1 + np.exp(-a))


def var(a: Values, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Values:
    squares = (a - np.mean(a, axis, keepdims=True)) ** 2
    total = np.sum(squares, axis, keepdims=keepdims)
    return total / (a.size // np.size(total) - ddof)


def softmax(a: Values) -> Values:
    return np.exp(a) / np.exp(a).sum(axis=-1, keepdims=True)


def log_mixture(logits: Values, gate: Values, other: Values) -> Values:
    share = sigmoid(gate[..., None])
    return np.log((1 - share) * softmax(logits) + share * other)


def cross_entropy(logits: Values, targets: Array) -> Values:
    return -np.mean(np.take_along_axis(np.log(softmax(logits)), targets[..., None], axis=-1))


def rms_norm(x: Values, weight: Values) -> Values:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPSILON) * weight


def layer_norm(x: Values, weight: Values, bias: Values) -> Values:
    return rms_norm(x - np.mean(x, axis=-1, keepdims=True), weight) + bias


def causal_attention(q: Values, k: Values, v: Values, *, window: int | None = None) -> Values:
    queries, keys = q.shape[-2], k.shape[-2]
    powers = np.exp(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5)
    last = np.arange(keys - queries, keys)[:, None]  # the last key that a query sees
    seen = (np.arange(keys) <= last) & (np.arange(keys) > last - (window or keys))
    powers = powers * seen
    return powers / powers.sum(axis=-1, keepdims=True) @ v


def rotary(x: Values, positions: Array, *, normalize: bool = False) -> Values:
    time, size = x.shape[-2:]
    x = rms_norm(x, 1) if normalize else x
    out = x.copy()
    for t, i in np.ndindex(time, size // 2):
        angle = positions[t] / 10_000.0 ** (2 * i / size)
        a, b = x[..., t, i], x[..., t, i + size // 2]
        out[..., t, i] = a * math.cos(angle) - b * math.sin(angle)
        out[..., t, i + size // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


def causal_convolution(x: Values, weight: Values) -> Values:
    out = x.copy()
    for t, lag in np.ndindex(x.shape[1], len(weight)):
        if lag <= t:
            out[:, t] += weight[lag] * x[:, t - lag]
    return out


def dropout(x: Values, *, rate: float, rng: np.random.Generator) -> Values:
    return x * (rng.random(x.shape, dtype=np.float32) >= rate) / (1 - rate)


OF_NUMPY: tuple[Callable[..., Any], ...] = (
    np.add, np.subtract, np.multiply, np.divide, np.negative, np.matmul, np.sum, np.mean, np.max,
    np.min, np.exp, np.log, np.sqrt, np.tanh, np.maximum, np.minimum, np.where,
    np.reshape, np.transpose, np.swapaxes, np.split,
)  # fmt: skip
FORMULAS: dict[str, Callable[..., Any]] = {
    **{each.__name__: each for each in OF_NUMPY},
    "power": lambda a, exponent: a**exponent,
    "var": var,
    "abs": lambda a: np.where(a > 0, a, -a),
    "astype": lambda a, dtype: a,
    "concat": lambda *arrays, axis=0: np.concat(arrays, axis),
    "stack": lambda *arrays, axis=0: np.stack(arrays, axis),
    "getitem": lambda a, index: a[index],
    "linear": lambda x, weight, bias: x @ weight + bias,
    "sigmoid": sigmoid,
    "relu": lambda a: np.maximum(a, 0.0),
    "relu_squared": lambda a: np.maximum(a, 0.0) ** 2,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "embedding": lambda table, ids: table[ids],
    "softmax": softmax,
    "log_softmax": lambda a: np.log(softmax(a)),
    "log_mixture": log_mixture,
    "cross_entropy": cross_entropy,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "causal_attention": causal_attention,
    "rotary": rotary,
    "causal_convolution": causal_convolution,
    "dropout": dropout,
}
