"""The engine: what all ops rely on."""

import copy
import gc
import operator
import pickle
import weakref
from collections.abc import Callable
from typing import Any

from lmladder.autograd import OPS, Tensor, functional, gradcheck, no_grad, op, ops
from lmladder.autograd.cases import CASES, Case
from lmladder.autograd.tensor import reverse

import numpy as np
import pytest


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def test_a_reused_tensor_adds_up_the_gradients_of_its_uses() -> None:
    a = leaf(3.0)
    b = a * a
    (b * b + a).backward()
    assert a.grad is not None
    assert a.grad.tolist() == [4 * 27 + 1]


def test_gradients_of_several_passes_add_up_until_cleared() -> None:
    a = leaf(1.0, 2.0)
    (a * 3.0).sum().backward()
    (a * 4.0).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [7, 7]
    a.grad = None
    a.sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [1, 1]


def test_a_chain_of_100_000_ops_goes_back_without_recursion() -> None:
    a = leaf(1.0)
    out = a
    for _ in range(100_000):
        out = out + 1.0
    out.backward()
    assert a.grad is not None
    assert a.grad.tolist() == [1]


def test_a_long_chain_that_is_never_differentiated_is_freed_without_recursion() -> None:
    out = leaf(1.0)
    for _ in range(100_000):
        out = out + 1.0
    del out


def test_backward_frees_the_graph_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        a = leaf(1.0)
        middle = a * 2.0
        gone = weakref.ref(middle)
        out = middle.sum()
        del middle
        assert gone() is not None
        out.backward()
        assert gone() is None
    finally:
        gc.enable()


def test_a_graph_that_is_dropped_leaves_nothing_to_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        out = functional.cross_entropy(leaf(1.0, 2.0).reshape(1, 2) * 3.0, np.array([1]))
        gone = weakref.ref(out)
        del out
        assert gone() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_second_backward_is_refused_and_changes_nothing() -> None:
    a = leaf(2.0)
    shared = a * a
    (shared + 1.0).backward()
    with pytest.raises(RuntimeError, match="an earlier backward has freed"):
        (shared * a).backward()
    assert a.grad is not None
    assert a.grad.tolist() == [4]


def test_backward_from_many_numbers_wants_an_upstream_gradient() -> None:
    a = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match=r"backward from shape \(2,\) needs an upstream gradient"):
        (a * 2.0).backward()


@pytest.mark.parametrize("upstream", [np.ones(3), np.ones(2, np.float32)])
def test_an_upstream_gradient_of_another_shape_or_type_is_refused(upstream: np.ndarray) -> None:
    with pytest.raises(ValueError, match="upstream gradient is"):
        (leaf(1.0, 2.0) * 2.0).backward(upstream)


def test_backward_from_a_constant_is_refused() -> None:
    with pytest.raises(RuntimeError, match="depends on nothing with requires_grad"):
        (Tensor(1.0) * 2.0).backward()


def test_within_no_grad_nothing_is_remembered() -> None:
    a = leaf(1.0)
    with no_grad():
        inside = a * 2.0
    outside = a * 2.0
    assert not inside.requires_grad
    assert outside.requires_grad


def test_no_grad_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (leaf(1.0) * 2.0).requires_grad


def test_constants_get_no_gradient() -> None:
    a, constant = leaf(1.0), Tensor(np.array([5.0]))
    (a * constant).backward()
    assert constant.grad is None


def test_a_python_number_takes_the_type_of_the_tensor() -> None:
    a = Tensor(np.ones(2, np.float32))
    for out in (a * 0.5, 0.5 * a, a / 3, a - np.float64(0.1), a**2, 1 / a):
        assert out.dtype == np.float32


def test_mixing_float_types_is_refused_by_name() -> None:
    said = r"multiply of shapes \(2,\), \(1, 2\) mixes float32 and float64; astype converts"
    with pytest.raises(TypeError, match=said):
        Tensor(np.ones(2, np.float32)) * Tensor(np.ones((1, 2)))


@pytest.mark.parametrize("array", [np.ones(2, int), np.ones(2, complex), np.array(["a"])])
def test_arrays_other_than_floats_are_refused(array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="a Tensor holds float32 or float64"):
        Tensor(array)


def test_array_times_tensor_is_a_tensor() -> None:
    out = np.array([1.0, 2.0]) * leaf(3.0, 4.0)
    assert isinstance(out, Tensor)
    assert out.value.tolist() == [3, 8]


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (lambda grad: (grad.astype(np.float64),), TypeError, "returned float64 for an array of"),
        (lambda grad: (Tensor(grad),), TypeError, "returned Tensor for an array of float32"),
        (lambda grad: (1.0,), TypeError, "returned float for an array of float32"),
        (lambda grad: (np.ones(2, "f"),), ValueError, r"returned \(2,\) for an array of \(3,\)"),
        (lambda grad: (grad[0],), ValueError, r"returned \(\) for an array of \(3,\)"),
        (lambda grad: grad, TypeError, "must return a tuple, one gradient or None for each of 1"),
        (lambda grad: (grad, grad), TypeError, "must return a tuple, one gradient or None"),
    ],
)
def test_a_pullback_that_returns_what_it_must_not_is_named(
    wrong: Callable[[Any], Any], error: type[Exception], said: str
) -> None:
    @op
    def sloppy(a):  # type: ignore[no-untyped-def]
        def sloppy_pullback(grad):  # type: ignore[no-untyped-def]
            return wrong(grad)

        return a * 1, sloppy_pullback

    del OPS["sloppy"]
    with pytest.raises(error, match=f"sloppy_pullback {said}"):
        sloppy(Tensor(np.ones(3, np.float32), requires_grad=True)).backward(np.ones(3, np.float32))


def test_gradcheck_finds_a_wrong_factor() -> None:
    @op
    def wrong(a):  # type: ignore[no-untyped-def]
        def wrong_pullback(grad):  # type: ignore[no-untyped-def]
            return (grad * 2.001 * a,)

        return a * a, wrong_pullback

    del OPS["wrong"]
    rng = np.random.default_rng(0)
    assert gradcheck(wrong, [np.array([1.0, 2.0])], rng=rng) > 1e-4


def test_gradcheck_refuses_float32() -> None:
    with pytest.raises(TypeError, match="gradcheck wants float64"):
        gradcheck(ops.exp, [np.ones(2, np.float32)], rng=np.random.default_rng(0))


def test_a_gradient_of_a_gradient_is_refused() -> None:
    a = leaf(2.0)
    with pytest.raises(TypeError, match="gradients of gradients are not supported"):
        (a * a).backward(Tensor(np.ones(1), requires_grad=True))
    (a * a).backward()
    with pytest.raises(RuntimeError, match="gradients are plain arrays: they depend on nothing"):
        (Tensor(a.grad) * 2.0).backward()


# --- Nothing is left behind -----------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_op_leaves_anything_to_the_garbage_collector(case: Case) -> None:
    rng = np.random.default_rng(0)
    arrays = [draw(rng) for draw in case.draws]

    def run() -> None:
        out = case(*(Tensor(array, requires_grad=True) for array in arrays))
        out.backward(np.ones_like(out.value))
        case(*(Tensor(array, requires_grad=True) for array in arrays))  # never gone back through

    run()  # what is made once and kept, such as compiled patterns
    gc.collect()
    gc.freeze()  # so that the collection below looks at nothing older
    gc.disable()
    try:
        run()
        assert gc.collect() == 0
    finally:
        gc.enable()
        gc.unfreeze()
    assert all(array.flags.writeable for array in arrays)


# --- What a pullback will read must not change ----------------------------------------------------


def test_an_array_that_a_graph_holds_cannot_be_written() -> None:
    a, x = leaf(1.0, 2.0), np.array([3.0, 4.0])
    out = (a * x).sum()
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        a.value -= 0.1
    out.backward()
    a.value -= 0.1
    x[0] = 5
    assert a.value.tolist() == [0.9, 1.9]


def test_an_array_is_held_until_the_last_graph_is_gone() -> None:
    a, x = leaf(1.0, 2.0), np.array([3.0, 4.0])
    first, second = a * x, a + x
    del first
    assert not x.flags.writeable
    del second
    assert x.flags.writeable
    assert a.value.flags.writeable


def test_what_only_a_constant_or_no_graph_reads_may_be_written() -> None:
    a, x = leaf(1.0), np.array([2.0])
    constant = Tensor(x) * 2.0
    with no_grad():
        inside = a * x
    x[0] = a.value[0] = constant.value[0] = inside.value[0] = 3
    assert constant.value.tolist() == [3]


def test_a_read_only_array_stays_so() -> None:
    x = np.array([1.0])
    x.flags.writeable = False
    (leaf(1.0) * x).backward()
    assert not x.flags.writeable


def test_results_and_gradients_are_read_only() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    out = a + b
    with pytest.raises(ValueError, match="read-only"):
        out.value[0] = 7
    upstream = np.ones(2)
    out.backward(upstream)
    for each in (a, b):
        assert each.grad is not None
        with pytest.raises(ValueError, match="read-only"):
            each.grad *= 2
    assert upstream.flags.writeable


def test_item_assignment_is_refused_with_what_to_use() -> None:
    with pytest.raises(TypeError, match="cannot be changed in place; where and scatter_add"):
        leaf(1.0)[0] = 2


@pytest.mark.parametrize("change", ["iadd", "isub", "imul", "itruediv", "ipow"])
def test_in_place_arithmetic_on_a_leaf_is_refused_with_what_to_write(change: str) -> None:
    with pytest.raises(TypeError, match=r"would replace a leaf by a result; change its array"):
        getattr(operator, change)(leaf(1.0), 2.0)


def test_in_place_arithmetic_on_a_result_makes_a_new_one() -> None:
    a = leaf(2.0)
    total = a * 1.0
    first = total
    total += a
    total *= 3.0
    total -= 1.0
    total /= 2.0
    total.backward()
    assert first.value.tolist() == [2]
    assert a.grad is not None
    assert a.grad.tolist() == [3]


def test_numpy_does_not_swallow_a_tensor() -> None:
    with pytest.raises(TypeError, match=r"a Tensor is no array; tensor\.value is"):
        np.asarray(leaf(1.0))
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.exp(leaf(1.0))


# --- The walk -------------------------------------------------------------------------------------


def test_a_walk_that_does_not_free_gives_every_gradient_and_can_be_repeated() -> None:
    a = leaf(2.0)
    b = a * a
    out = (b + a).sum()
    for _ in range(2):
        found = {id(tensor): grad for tensor, grad in reverse(out, free=False)}
        assert found[id(a)].tolist() == [5]
        assert found[id(b)].tolist() == [1]
    assert a.grad is None
    out.backward()
    assert a.grad is not None


def test_an_upstream_gradient_may_be_a_number_or_a_list() -> None:
    a = leaf(1.0, 2.0)
    a.sum().backward(3)
    (a * 2.0).backward([1, 10])
    assert a.grad is not None
    assert a.grad.tolist() == [5, 23]


def test_a_leaf_does_not_share_memory_with_the_callers_upstream_gradient() -> None:
    a, upstream = leaf(1.0, 2.0), np.ones(2)
    (a + 1.0).backward(upstream)
    upstream[:] = 7
    assert a.grad is not None
    assert a.grad.tolist() == [1, 1]


def test_a_view_and_its_owner_in_one_graph_can_both_be_written_afterwards() -> None:
    flat = np.zeros(4)
    for first in (0, 1):
        leaves = [Tensor(flat, requires_grad=True), Tensor(flat[:2], requires_grad=True)]
        loss = (leaves[first] * leaves[first]).sum() + (leaves[1 - first] * 2.0).sum()
        loss.backward()
        for each in leaves:
            each.value -= 0.1


# --- What a Tensor is to Python -------------------------------------------------------------------


def test_comparisons_are_arrays_of_booleans() -> None:
    a = leaf(1.0, 2.0, 3.0)
    found = [(a < 2).tolist(), (a <= 2).tolist(), (a > 2).tolist(), (a >= a).tolist()]
    assert found == [[True, False, False], [True, True, False], [False, False, True], [True] * 3]


def test_a_tensor_of_one_number_is_true_or_false_and_no_other_is() -> None:
    assert not Tensor(0.0)
    assert Tensor(np.array([2.0]))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(leaf(1.0, 2.0))


def test_iteration_is_over_the_first_axis() -> None:
    a = leaf(1.0, 2.0)
    first, second = a
    (first * 3.0 + second).backward()
    assert a.grad is not None
    assert a.grad.tolist() == [3, 1]
    with pytest.raises(TypeError, match="0-d Tensor"):
        list(Tensor(1.0))
    with pytest.raises(TypeError):
        assert 1.0 in a


def test_leaves_can_be_copied_and_pickled_results_cannot() -> None:
    a = leaf(1.0, 2.0)
    for twin in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert twin.value.tolist() == [1, 2]
        assert twin.requires_grad
    for make in (copy.deepcopy, copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="only a leaf can be copied or pickled"):
            make(a * 2.0)


def test_an_op_without_a_pullback_is_refused() -> None:
    @op
    def careless(a):  # type: ignore[no-untyped-def]
        return a * 2

    del OPS["careless"]
    with pytest.raises(TypeError, match="careless must return its value and its pullback"):
        careless(leaf(1.0, 2.0))


def test_an_op_of_a_users_own_does_not_take_the_place_of_ours() -> None:
    @op
    def add(a, b):  # type: ignore[no-untyped-def]
        return a + b, lambda grad: (grad, grad)

    assert OPS["add"] is ops.add


# --- gradcheck ------------------------------------------------------------------------------------


def test_gradcheck_refuses_what_it_cannot_move() -> None:
    rng = np.random.default_rng(0)
    for wrong in (Tensor(1.0), leaf(1.0) * 2.0):
        with pytest.raises(ValueError, match="wants arrays, or leaves with requires_grad"):
            gradcheck(ops.exp, [wrong], rng=rng)
    with pytest.raises(ValueError, match="wants a direction at least"):
        gradcheck(ops.exp, [np.ones(2)], rng=rng, directions=0)


def test_gradcheck_puts_parameters_back_when_the_function_raises() -> None:
    a = leaf(1.0, 2.0)
    calls = iter([ops.exp, ops.exp])

    def raising(x: Tensor) -> Tensor:
        return next(calls)(x)  # the third call, amid a difference, raises StopIteration

    with pytest.raises(StopIteration):
        gradcheck(raising, [a], rng=np.random.default_rng(0))
    assert a.value.tolist() == [1, 2]
