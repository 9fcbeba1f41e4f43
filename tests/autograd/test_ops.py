"""Every op against central differences: an op is a row of CASES, and no op is without one."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lmladder.autograd import OPS, Tensor, gradcheck, ops
from lmladder.autograd.gradcheck import TOLERANCE

import numpy as np
import pytest


def normal(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: np.asarray(rng.standard_normal(shape))


def positive(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.uniform(0.5, 2.0, shape)


def apart(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Numbers at least 0.1 from 0 and from each other: away from kinks and ties."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        size = int(np.prod(shape))
        values = (np.arange(size) - size // 2 + 0.5) * 0.2
        return rng.permutation(values).reshape(shape)

    return draw


def view(draw: Callable[[np.random.Generator], np.ndarray]) -> Any:
    """The same numbers as a view with negative strides, axes swapped."""
    return lambda rng: draw(rng).T[::-1]


@dataclass
class Case:
    """`function` applied to arrays drawn by `draws`; `op` is the name of what it checks."""

    name: str
    function: Callable[..., Tensor]
    draws: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def op(self) -> str:
        return self.name.partition(" ")[0]


IDS = np.array([[0, 2, 2], [3, 0, 2]])
MASK = np.array([[True, False, True], [False, False, True]])


def dropout(x: Tensor) -> Tensor:
    return ops.dropout(x, rate=0.4, rng=np.random.default_rng(5))  # the same mask at each call


CASES = [
    Case("add", ops.add, (normal(2, 3), normal(2, 3))),
    Case("add broadcast", ops.add, (normal(2, 1, 3), normal(4, 1))),
    Case("add number", lambda a: 2 + a + 1, (normal(2, 3),)),
    Case("add 0-d", ops.add, (normal(), normal(3))),
    Case("add view", ops.add, (view(normal(3, 2)), normal(2, 3))),
    Case("sub", ops.sub, (normal(2, 3), normal(3))),
    Case("sub number", lambda a: 1 - a, (normal(2, 3),)),
    Case("mul", ops.mul, (normal(2, 3), normal(2, 1))),
    Case("mul itself", lambda a: a * a, (normal(2, 3),)),
    Case("div", ops.div, (normal(2, 3), positive(2, 1))),
    Case("div number", lambda a: 1 / a, (positive(2, 3),)),
    Case("neg", ops.neg, (normal(2, 3),)),
    Case("power", ops.power, (positive(2, 3),), {"exponent": 2.5}),
    Case("power square", lambda a: a**2, (normal(2, 3),)),
    Case("power inverse", lambda a: a**-1, (positive(2, 3),)),
    Case("matmul", ops.matmul, (normal(2, 3), normal(3, 4))),
    Case("matmul batch @ matrix", ops.matmul, (normal(2, 5, 3), normal(3, 4))),
    Case("matmul matrix @ batch", ops.matmul, (normal(5, 3), normal(2, 3, 4))),
    Case("matmul batches", ops.matmul, (normal(2, 5, 3), normal(2, 3, 4))),
    Case("matmul broadcast batches", ops.matmul, (normal(2, 1, 5, 3), normal(4, 3, 2))),
    Case("matmul views", ops.matmul, (view(normal(3, 2)), view(normal(4, 3)))),
    Case("linear", ops.linear, (normal(2, 5, 3), normal(3, 4), normal(4))),
    Case("sum", ops.sum, (normal(2, 3),)),
    Case("sum axis", ops.sum, (normal(2, 3, 4),), {"axis": 1}),
    Case("sum axes", ops.sum, (normal(2, 3, 4),), {"axis": (0, -1), "keepdims": True}),
    Case("sum 0-d", ops.sum, (normal(),)),
    Case("mean", ops.mean, (normal(2, 3),)),
    Case("mean axis", ops.mean, (normal(2, 3, 4),), {"axis": (1, 2)}),
    Case("max", ops.max, (apart(2, 3),)),
    Case("max axis", ops.max, (apart(2, 3, 4),), {"axis": -1, "keepdims": True}),
    Case("exp", ops.exp, (normal(2, 3),)),
    Case("log", ops.log, (positive(2, 3),)),
    Case("sqrt", ops.sqrt, (positive(2, 3),)),
    Case("tanh", ops.tanh, (normal(2, 3),)),
    Case("sigmoid", ops.sigmoid, (normal(2, 3),)),
    Case("relu", ops.relu, (apart(2, 3),)),
    Case("gelu", ops.gelu, (normal(40, 3),)),
    Case("gelu_tanh", ops.gelu_tanh, (normal(40, 3),)),
    Case("gelu_tanh 0-d", ops.gelu_tanh, (normal(),)),
    Case("silu", ops.silu, (normal(2, 3),)),
    Case("reshape", ops.reshape, (normal(2, 6),), {"shape": (3, -1)}),
    Case("transpose", ops.transpose, (normal(2, 3, 4),)),
    Case("transpose axes", ops.transpose, (normal(2, 3, 4),), {"axes": (1, -1, 0)}),
    Case("concat", ops.concat, (normal(2, 1), normal(2, 3), normal(2, 2)), {"axis": -1}),
    Case("getitem slice", lambda a: a[1:, ::-2], (normal(3, 5),)),
    Case("getitem number", lambda a: a[..., -1], (normal(3, 5),)),
    Case("getitem integers", lambda a: a[IDS], (normal(4, 2),)),
    Case("getitem booleans", lambda a: a[MASK], (normal(2, 3),)),
    Case("getitem pairs", lambda a: a[[0, 1, 1], [2, 0, 0]], (normal(2, 3),)),
    Case("split", lambda a: ops.mul(*ops.split(a, 2, axis=1)), (normal(3, 4),)),
    Case("where", lambda a, b: ops.where(MASK, a, b), (normal(2, 3), normal(3))),
    Case("embedding", lambda table: ops.embedding(table, IDS), (normal(4, 2),)),
    Case("softmax", ops.softmax, (normal(2, 3, 4),)),
    Case("log_softmax", ops.log_softmax, (normal(2, 3, 4),)),
    Case("cross_entropy", lambda x: ops.cross_entropy(x, IDS), (normal(2, 3, 4),)),
    Case("layer_norm", ops.layer_norm, (normal(2, 3, 4), normal(4), normal(4))),
    Case("rms_norm", ops.rms_norm, (normal(2, 3, 4), normal(4))),
    Case("causal_attention", ops.causal_attention, (normal(2, 3, 5, 4),) * 3),
    Case(
        "causal_attention later queries",
        ops.causal_attention,
        (normal(1, 2, 3, 4), normal(1, 2, 140, 4), normal(1, 2, 140, 4)),
    ),
    Case("causal_attention tiles", ops.causal_attention, (normal(1, 1, 130, 2),) * 3),
    Case("dropout", dropout, (normal(4, 5),)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradients_agree_with_central_differences(case: Case) -> None:
    rng = np.random.default_rng(0)
    inputs = [draw(rng) for draw in case.draws]
    error = gradcheck(lambda *tensors: case.function(*tensors, **case.options), inputs, rng=rng)
    assert error < TOLERANCE


def test_every_public_op_has_a_row() -> None:
    composed = {
        name
        for name, function in inspect.getmembers(ops, inspect.isfunction)
        if function.__module__ == ops.__name__ and not name.startswith("_")
    }
    assert composed | OPS.keys() == {case.op for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float32_stays_float32_in_values_and_gradients(case: Case) -> None:
    rng = np.random.default_rng(0)
    tensors = [Tensor(draw(rng).astype(np.float32), requires_grad=True) for draw in case.draws]
    out = case.function(*tensors, **case.options)
    out.backward(np.ones_like(out.value))
    assert out.dtype == np.float32
    assert all(each.grad is not None and each.grad.dtype == np.float32 for each in tensors)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_neither_inputs_nor_upstream_gradients_are_changed(case: Case) -> None:
    rng = np.random.default_rng(0)
    tensors = [Tensor(draw(rng), requires_grad=True) for draw in case.draws]
    before = [tensor.value.copy() for tensor in tensors]
    out = case.function(*tensors, **case.options)
    upstream = np.asarray(rng.standard_normal(out.shape))
    kept = upstream.copy()
    out.backward(upstream)
    assert all(np.array_equal(t.value, old) for t, old in zip(tensors, before, strict=True))
    assert np.array_equal(upstream, kept)


def gradient(function: Callable[[Tensor], Tensor], values: Any) -> Any:
    tensor = Tensor(np.array(values, np.float64), requires_grad=True)
    function(tensor).sum().backward()
    assert tensor.grad is not None
    return tensor.grad.tolist()


def test_equal_maxima_share_the_gradient() -> None:
    assert gradient(ops.max, [1.0, 3.0, 3.0, 2.0]) == [0, 0.5, 0.5, 0]


def test_relu_has_gradient_0_at_its_kink() -> None:
    assert gradient(ops.relu, [-1.0, 0.0, 2.0]) == [0, 0, 1]


def test_a_row_that_is_looked_up_twice_gets_both_gradients() -> None:
    table = Tensor(np.zeros((3, 2)), requires_grad=True)
    ops.embedding(table, np.array([2, 0, 2])).backward(np.array([[1.0, 2], [3, 4], [5, 6]]))
    assert table.grad is not None
    assert table.grad.tolist() == [[3, 4], [0, 0], [6, 8]]


def test_cross_entropy_of_huge_logits_is_exact() -> None:
    logits = Tensor(np.array([[1e4, 0.0, -1e4]], np.float32), requires_grad=True)
    loss = ops.cross_entropy(logits, np.array([1]))
    loss.backward()
    assert loss.item() == 1e4
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1, -1, 0]]


def test_sigmoid_and_softmax_of_huge_numbers_do_not_overflow() -> None:
    huge = Tensor(np.array([-1e30, 0, 1e30], np.float32))
    assert ops.sigmoid(huge).value.tolist() == [0, 0.5, 1]
    assert ops.softmax(huge).value.tolist() == [0, 0, 1]


def test_dropout_keeps_the_mean_and_zeroes_the_rate() -> None:
    out = ops.dropout(Tensor(np.ones(100_000)), rate=0.3, rng=np.random.default_rng(0)).value
    assert abs((out == 0).mean() - 0.3) < 0.01
    assert abs(out.mean() - 1) < 0.01


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: a @ Tensor(np.ones((2, 2))), "matmul of shapes (2, 3), (2, 2)"),
        (lambda a: a + Tensor(np.ones(2)), "add of shapes (2, 3), (2,)"),
        (lambda a: a @ Tensor(np.ones(3)), "matmul wants at least two axes"),
        (lambda a: a.reshape(4), "reshape of shapes (2, 3)"),
        (lambda a: ops.split(a, 2), "split of shape (2, 3)"),
        (lambda a: ops.cross_entropy(a, np.array([0])), "targets must have the shape"),
        (lambda a: ops.cross_entropy(a, np.array([0, 3])), "targets range from 0 to 3"),
        (lambda a: ops.dropout(a, rate=1.0, rng=np.random.default_rng(0)), "the rate must be"),
    ],
)
def test_what_does_not_fit_is_named(call: Callable[[Tensor], Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        call(Tensor(np.ones((2, 3))))


def test_an_id_past_the_table_is_named() -> None:
    with pytest.raises(IndexError, match="ids range from 0 to 4, the table has 4 rows"):
        ops.embedding(Tensor(np.ones((4, 2))), np.array([0, 4]))


def test_a_tensor_as_exponent_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a number"):
        Tensor(2.0) ** Tensor(3.0)
