"""The engine: what all ops rely on."""

import copy
import gc
import operator
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

from lmladder.autograd import OPS, Tensor, no_grad, op, ops
from lmladder.autograd.tensor import changed, reverse

import numpy as np
import pytest


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def gradient(tensor: Tensor) -> Any:
    assert tensor.grad is not None
    return tensor.grad.tolist()


def own_op(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """Make an op that is not listed among those of the package."""
    made = op(function)
    del OPS[function.__name__]
    return made


# --- Backward passes ------------------------------------------------------------------------------


def test_a_second_backward_is_rejected_and_changes_nothing() -> None:
    a = leaf(2.0)
    shared = a * a
    (shared + 1.0).backward()
    with pytest.raises(RuntimeError, match="freed"):
        (shared * a).backward()
    assert gradient(a) == [4]


def test_a_pass_that_does_not_free_gives_every_gradient_and_can_be_repeated() -> None:
    a = leaf(2.0)
    b = a * a
    out = (b + a).sum()
    for _ in range(2):
        found = {id(tensor): grad for tensor, grad in reverse(out, free=False)}
        assert found[id(a)].tolist() == [5]
        assert found[id(b)].tolist() == [1]
    assert a.grad is None
    out.backward()
    assert gradient(a) == [5]


def test_within_no_grad_nothing_is_recorded() -> None:
    a = leaf(1.0)
    with no_grad():
        inside = a * 2.0
    assert not inside.requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (a * 2.0).requires_grad


# --- Memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("differentiated", [False, True])
def test_a_long_chain_is_differentiated_and_freed_without_recursion(differentiated: bool) -> None:
    a = leaf(1.0)
    out = a
    for _ in range(20 * sys.getrecursionlimit()):
        out = out + 1.0
    if differentiated:
        out.backward()
        assert gradient(a) == [1]
    gone = weakref.ref(out)
    del out
    assert gone() is None


def test_backward_frees_the_graph_without_the_garbage_collector() -> None:
    middle = leaf(1.0) * 2.0
    gone = weakref.ref(middle)
    out = middle.sum()
    del middle
    gc.disable()
    try:
        assert gone() is not None
        out.backward()
        assert gone() is None
    finally:
        gc.enable()


# --- Types ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error", "named"),
    [
        (lambda grad: (grad.astype(np.float64),), TypeError, "float64"),
        (lambda grad: (np.ones(2, "f"),), ValueError, r"\(2,\)"),
        (lambda grad: (grad, grad), TypeError, "tuple"),
    ],
)
def test_a_pullback_that_returns_no_gradient_is_named(
    wrong: Callable[[Any], Any], error: type[Exception], named: str
) -> None:
    def sloppy(a: Any) -> Any:
        def sloppy_pullback(grad: Any) -> Any:
            return wrong(grad)

        return a * 1, sloppy_pullback

    a = Tensor(np.ones(3, np.float32), requires_grad=True)
    with pytest.raises(error, match=f"sloppy_pullback .*{named}"):
        own_op(sloppy)(a).backward(np.ones(3, np.float32))


def test_an_op_of_a_user_does_not_replace_one_of_the_package() -> None:
    @op
    def add(a: Any, b: Any) -> Any:
        return a + b, lambda grad: (grad, grad)

    assert OPS["add"] is ops.add


# --- Values that change ---------------------------------------------------------------------------


def assigned(a: Tensor) -> None:
    a.value = a.value * 2


def in_place(a: Tensor) -> None:
    a.value -= 0.1


def declared(a: Tensor) -> None:
    a.value[0] = 7
    changed([a])


@pytest.mark.parametrize("change", [assigned, in_place, declared])
def test_a_graph_of_a_value_that_has_changed_is_rejected(change: Callable[[Tensor], None]) -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    stale, other = (a * b).sum(), (b * b).sum()
    change(a)
    with pytest.raises(RuntimeError, match="a value that multiply read has changed; compute"):
        stale.backward()
    assert a.grad is b.grad is None
    other.backward()
    (copy.deepcopy(a) * a).sum().backward()
    assert gradient(b) == [6, 8]
    assert gradient(a) == a.value.tolist()


def test_results_and_gradients_are_read_only_and_no_callers_array() -> None:
    a = leaf(1.0, 2.0)
    out = a + leaf(3.0, 4.0)
    with pytest.raises(ValueError, match="read-only"):
        out.value[0] = 7
    upstream = np.ones(2)
    out.backward(upstream)
    assert a.grad is not None
    with pytest.raises(ValueError, match="read-only"):
        a.grad *= 2
    upstream[:] = 7
    assert gradient(a) == [1, 1]


def test_in_place_arithmetic_on_a_result_makes_a_new_one() -> None:
    a = leaf(2.0)
    total = first = a * 1.0
    total += a
    total.backward()
    assert first.value.tolist() == [2]
    assert gradient(a) == [2]


# --- What a Tensor is to Python -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error", "named"),
    [
        (lambda a: (a * 2.0).backward(), ValueError, r"shape \(2,\)"),
        (lambda a: (a * 2.0).backward(np.ones(3)), ValueError, "upstream gradient"),
        (lambda a: (a * 2.0).backward(leaf(1.0, 1.0)), TypeError, "not an array"),
        (lambda a: Tensor(a.value).sum().backward(), RuntimeError, "requires_grad"),
        (lambda a: Tensor(np.ones(2, int)), TypeError, "float32 or float64"),
        (lambda a: Tensor(np.ones(2, "f")) * a, TypeError, "multiply .*float32 and float64"),
        (lambda a: bool(a), ValueError, "ambiguous"),
        (lambda a: operator.setitem(a, 0, 2), TypeError, "assignment"),
        (lambda a: operator.iadd(a, 2.0), TypeError, "leaf"),
        (lambda a: operator.ipow(a, 2.0), TypeError, "leaf"),
        (lambda a: np.asarray(a), TypeError, r"tensor\.value"),
        (lambda a: np.exp(a), TypeError, "ufuncs"),
        (lambda a: copy.deepcopy(a * 2.0), TypeError, "leaf"),
    ],
)
def test_what_a_tensor_cannot_do_is_rejected(
    wrong: Callable[[Tensor], Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        wrong(leaf(1.0, 2.0))


def test_leaves_can_be_copied_and_pickled() -> None:
    a = leaf(1.0, 2.0)
    for twin in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert twin.value.tolist() == [1, 2]
        assert twin.requires_grad
