"""Every op, as its cases run it: gradients by differences, values and gradients by formula.

What the cases cannot show has tests below: huge and tiny numbers, arguments that an op rejects.
"""

import gc
import inspect
import math
import re
from collections.abc import Callable
from typing import Any

from lmladder.autograd import OPS, Tensor, functional, gradcheck, ops
from tests.autograd.cases import IDS, OP_NAMES, cases_of, failures
from tests.autograd.formulas import FORMULAS, data_of, gradients_of, run_with, values_of
from tests.autograd.test_tensor import gradient, own_op

import numpy as np
import pytest

each_op = pytest.mark.parametrize("op", OP_NAMES)


@each_op
def test_gradients_agree_with_central_differences(op: str) -> None:
    """In float64 in every layout, and float32 with float64."""
    assert list(failures(op)) == []


@each_op
def test_values_and_gradients_are_those_of_the_formula(op: str) -> None:
    compared = 0
    for case in cases_of(op):
        tensors, _ = case.leaves()
        size = sum(tensor.value.size for tensor in tensors)
        if size > 1000 or any(tensor.value.size == 0 for tensor in tensors):
            continue
        compared += 1
        arrays = [values_of(tensor.value) for tensor in tensors]
        out, expected = case(*tensors), values_of(run_with(FORMULAS, case, *arrays))
        np.testing.assert_allclose(out.value, data_of(expected), 1e-10, 1e-13, err_msg=case.name)
        upstream = np.random.default_rng(1).standard_normal(out.shape)
        out.backward(upstream)
        values_of(np.sum(expected * upstream)).item().backward()
        for tensor, values in zip(tensors, arrays, strict=True):
            wanted = gradients_of(values)
            np.testing.assert_allclose(tensor.grad, wanted, 1e-9, 1e-12, err_msg=case.name)
    assert compared > 0


@each_op
def test_an_op_keeps_float32_its_inputs_and_the_upstream_gradient(op: str) -> None:
    for case in cases_of(op):
        tensors, _ = case.leaves(np.float32)
        before = [tensor.value.copy() for tensor in tensors]
        out = case(*tensors)
        upstream = np.ones(out.shape, out.dtype)
        out.backward(upstream)
        assert (upstream == 1).all(), case.name
        assert all(np.array_equal(t.value, old) for t, old in zip(tensors, before, strict=True))
        assert op == "astype" or out.dtype == np.float32, case.name
        assert {each.grad.dtype.name for each in tensors if each.grad is not None} == {"float32"}


def test_no_op_leaves_anything_to_the_garbage_collector() -> None:
    def run(op: str) -> None:
        for case in cases_of(op):
            case.results()
            case(*case.leaves()[0])  # without a backward pass

    for op in OP_NAMES:  # what is made once and kept, such as compiled patterns
        run(op)
    gc.collect()
    gc.freeze()  # so that the collections below look at nothing older
    gc.disable()
    left = {}
    try:
        for op in OP_NAMES:
            run(op)
            left[op] = gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    assert set(left.values()) == {0}, left


def test_every_public_op_has_a_case() -> None:
    public = {
        name
        for module in (ops, functional)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    # Tests of other packages may have defined ops of their own.
    own = {name for name, each in OPS.items() if each.__module__.startswith("lmladder.")}
    assert public | own == set(OP_NAMES)


# --- The check itself -------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2.001, np.nan])
def test_gradcheck_finds_a_wrong_factor(factor: float) -> None:
    def wrong(a: Any) -> Any:
        def wrong_pullback(grad: Any) -> Any:
            return (grad * factor * a,)

        return a * a, wrong_pullback

    rng = np.random.default_rng(0)
    assert not gradcheck(own_op(wrong), [np.array([1.0, 2.0])], rng=rng) < 1e-4


# --- Huge and tiny numbers ------------------------------------------------------------------------


def test_cross_entropy_of_huge_logits_is_exact() -> None:
    logits = Tensor(np.array([[1e4, 0.0, -1e4]], np.float32), requires_grad=True)
    loss = functional.cross_entropy(logits, np.array([1]))
    loss.backward()
    assert loss.item() == 1e4
    assert gradient(logits) == [[1, -1, 0]]


def test_sigmoid_and_softmax_of_huge_numbers_do_not_overflow() -> None:
    huge = Tensor(np.array([-1e30, 0, 1e30], np.float32))
    assert functional.sigmoid(huge).value.tolist() == [0, 0.5, 1]
    assert functional.softmax(huge).value.tolist() == [0, 0, 1]


@pytest.mark.parametrize("x", [-700.0, -40.0, -18.0, 18.0, 700.0])
def test_sigmoid_keeps_all_its_digits_far_from_0(x: float) -> None:
    a = Tensor(x, requires_grad=True)
    out = functional.sigmoid(a)
    exact = math.exp(x) / (1 + math.exp(x)) if x < 0 else 1 / (1 + math.exp(-x))
    assert out.item() == pytest.approx(exact, rel=1e-15, abs=0)
    out.backward()
    assert a.grad == pytest.approx(exact * (1 - exact), rel=1e-12, abs=1e-300)


# --- Arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda a: a @ Tensor(3.0), ValueError, "matmul of shapes (2, 3), ()"),
        (lambda a: a + Tensor(np.ones(2)), ValueError, "add of shapes (2, 3), (2,)"),
        (lambda a: a.reshape(4), ValueError, "reshape of shapes (2, 3)"),
        (lambda a: ops.split(a, 2), ValueError, "split of shape (2, 3)"),
        (lambda a: a.sum(axis=2), ValueError, "sum of shapes (2, 3): axis 2"),
        (lambda a: ops.concat(a, a.T), ValueError, "concat of shapes (2, 3), (3, 2)"),
        (lambda a: functional.dropout(a, rate=1.0, rng=None), ValueError, "1"),
        (lambda a: functional.causal_attention(a, a, a), ValueError, "attention"),
        (
            lambda a: functional.causal_attention(*[a.reshape(1, 1, 2, 3)] * 3, window=0),
            ValueError,
            "window of at least 1, got 0",
        ),
        (lambda a: functional.cross_entropy(a, np.array([0])), ValueError, "targets"),
        (lambda a: functional.cross_entropy(a[:0], IDS[:0, 0]), ValueError, "targets"),
        (lambda a: functional.cross_entropy(a, np.array([0, 3])), IndexError, "from 0 to 3"),
        (lambda a: a[2], IndexError, "getitem of shapes (2, 3): index 2"),
        (lambda a: a**a, TypeError, "number"),
        (lambda a: ops.concat([a, a]), TypeError, "concat expects Tensors as arguments"),
        (lambda a: ops.where(a, a, 0), TypeError, "booleans"),
        (lambda a: functional.embedding(a, [0.5]), TypeError, "integers"),
    ],
)
def test_an_argument_that_does_not_fit_is_rejected_by_name(
    call: Callable[[Tensor], Tensor], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=re.escape(named)):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize(
    "call",
    [
        lambda a: a * np.arange(3),
        lambda a: ops.maximum(a, [1, 0, 2]),
        lambda a: ops.where(a > 0, a, np.arange(3)),
        lambda a: ops.concat(a, np.ones((1, 3), bool)),
        lambda a: 1 / a - np.float64(0.1),
        lambda a: functional.embedding(a, [1, 0]),
    ],
    ids=["array", "list", "where", "concat", "number", "embedding"],
)
def test_integers_lists_and_numbers_take_the_type_of_the_tensor(
    call: Callable[[Tensor], Tensor],
) -> None:
    a = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    out = call(a)
    out.sum().backward()
    assert a.grad is not None
    assert out.dtype == a.grad.dtype == np.float32


def test_indices_may_change_before_backward() -> None:
    a, index = Tensor(np.ones(3), requires_grad=True), np.array([0, 1])
    out = a[index]
    index[:] = 2
    out.sum().backward()
    assert gradient(a) == [1, 1, 0]
