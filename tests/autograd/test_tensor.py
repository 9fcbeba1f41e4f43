"""The engine: what all ops rely on."""

import gc
import weakref

from lmladder.autograd import OPS, Tensor, gradcheck, no_grad, op, ops

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
        out = ops.cross_entropy(leaf(1.0, 2.0).reshape(1, 2) * 3.0, np.array([1]))
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
    with pytest.raises(TypeError, match="mul mixes float32 and float64"):
        Tensor(np.ones(2, np.float32)) * Tensor(np.ones(2))


@pytest.mark.parametrize("array", [np.ones(2, int), np.ones(2, complex), np.array(["a"])])
def test_arrays_other_than_floats_are_refused(array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="a Tensor holds float32 or float64"):
        Tensor(array)


def test_array_times_tensor_is_a_tensor() -> None:
    out = np.array([1.0, 2.0]) * leaf(3.0, 4.0)
    assert isinstance(out, Tensor)
    assert out.value.tolist() == [3, 8]


def test_a_pullback_of_the_wrong_type_is_caught() -> None:
    @op
    def sloppy(a):  # type: ignore[no-untyped-def]
        def sloppy_pullback(grad):  # type: ignore[no-untyped-def]
            return (grad.astype(np.float64),)

        return a, sloppy_pullback

    del OPS["sloppy"]
    with pytest.raises(TypeError, match="sloppy_pullback returned float64 for float32"):
        sloppy(Tensor(np.float32(1), requires_grad=True)).backward()


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


def test_gradients_of_gradients_are_constants() -> None:
    a = leaf(2.0)
    (a * a).backward()
    assert isinstance(a.grad, np.ndarray)
