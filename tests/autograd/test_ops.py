"""Every op against central differences: an op is a row of CASES, and no op is without one."""

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

from lmladder.autograd import OPS, Tensor, functional, ops
from lmladder.autograd.cases import CASES, IDS, KINKS, Case, Kink
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.autograd.scalar import Value
from lmladder.autograd.selfcheck import LAYOUTS, TOLERANCE_32, gradients, row_error, row_error_32

import numpy as np
import pytest

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_gradients_agree_with_central_differences_in_every_layout(case: Case) -> None:
    assert row_error(case) < TOLERANCE
    assert row_error_32(case) < TOLERANCE_32
    plain = gradients(case, np.float64)
    for layout in LAYOUTS:
        for a, b in zip(plain, gradients(case, np.float64, layout=layout), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


def test_every_public_op_has_a_row() -> None:
    public = {
        name
        for module in (ops, functional)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public | OPS.keys() == {case.op for case in CASES}


@pytest.mark.parametrize("name", sorted({case.op for case in CASES}))
def test_the_rows_of_an_op_call_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not another: each row must name the pullback, or be composed of others'."""
    rows = [case for case in CASES if case.op == name]
    if name not in OPS:
        assert name in {"mean", "var", "relu_squared", "silu", "split"}  # composed
        return
    for case in rows:
        out = case(*(Tensor(d(np.random.default_rng(0)), requires_grad=True) for d in case.draws))
        stack, pullbacks = [out], set()
        while stack:
            tensor = stack.pop()
            if tensor._pullback is not None:
                pullbacks.add(tensor._pullback.__name__)
            stack.extend(each for each in tensor._parents if each is not None)
        assert f"{name}_pullback" in pullbacks


@each_case
def test_an_op_keeps_float32_its_inputs_and_the_upstream_gradient(case: Case) -> None:
    rng = np.random.default_rng(0)
    tensors = [Tensor(draw(rng).astype(np.float32), requires_grad=True) for draw in case.draws]
    before = [tensor.value.copy() for tensor in tensors]
    out = case(*tensors)
    upstream = np.asarray(rng.standard_normal(out.shape)).astype(out.dtype)
    kept = upstream.copy()
    out.backward(upstream)
    assert all(np.array_equal(t.value, old) for t, old in zip(tensors, before, strict=True))
    assert np.array_equal(upstream, kept)
    assert case.op == "astype" or out.dtype == np.float32
    assert all(each.grad is not None and each.grad.dtype == np.float32 for each in tensors)


@pytest.mark.parametrize("kink", KINKS, ids=lambda kink: kink.name)
def test_kinks_and_ties_have_the_gradients_that_the_docstrings_promise(kink: Kink) -> None:
    assert kink.holds()


def test_a_row_that_is_looked_up_twice_gets_both_gradients() -> None:
    table = Tensor(np.zeros((3, 2)), requires_grad=True)
    functional.embedding(table, np.array([2, 0, 2])).backward(np.array([[1.0, 2], [3, 4], [5, 6]]))
    assert table.grad is not None
    assert table.grad.tolist() == [[3, 4], [0, 0], [6, 8]]


def test_cross_entropy_of_huge_logits_is_exact() -> None:
    logits = Tensor(np.array([[1e4, 0.0, -1e4]], np.float32), requires_grad=True)
    loss = functional.cross_entropy(logits, np.array([1]))
    loss.backward()
    assert loss.item() == 1e4
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1, -1, 0]]


def test_sigmoid_and_softmax_of_huge_numbers_do_not_overflow() -> None:
    huge = Tensor(np.array([-1e30, 0, 1e30], np.float32))
    assert functional.sigmoid(huge).value.tolist() == [0, 0.5, 1]
    assert functional.softmax(huge).value.tolist() == [0, 0, 1]


def test_dropout_keeps_the_mean_and_zeroes_the_rate() -> None:
    out = functional.dropout(Tensor(np.ones(100_000)), rate=0.3, rng=np.random.default_rng(0)).value
    assert abs((out == 0).mean() - 0.3) < 0.01
    assert abs(out.mean() - 1) < 0.01


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: a @ Tensor(np.ones((2, 2))), "matmul of shapes (2, 3), (2, 2)"),
        (lambda a: a + Tensor(np.ones(2)), "add of shapes (2, 3), (2,)"),
        (lambda a: a @ Tensor(3.0), "matmul of shapes (2, 3), (): a matrix product wants"),
        (lambda a: a.reshape(4), "reshape of shapes (2, 3)"),
        (lambda a: ops.split(a, 2), "split of shape (2, 3)"),
        (lambda a: functional.cross_entropy(a, np.array([0])), "targets must have the shape"),
        (lambda a: functional.dropout(a, rate=1.0, rng=None), "the rate must be in [0, 1)"),
        (lambda a: ops.einsum(a, subscripts="ij,jk"), "names 2 arrays, 1 came"),
        (lambda a: ops.einsum(a, subscripts="i"), "'i' does not name the axes of shape (2, 3)"),
        (lambda a: ops.einsum(a, a, subscripts="ij,jk"), "einsum of shapes (2, 3), (2, 3): 'j' is"),
        (lambda a: a.squeeze(axis=0), "squeeze of shapes (2, 3)"),
        (lambda a: a.sum(axis=2), "sum of shapes (2, 3): axis 2 is out of bounds"),
        (lambda a: ops.stack(a, a.T), "stack of shapes (2, 3), (3, 2)"),
        (lambda a: ops.concat(a, a.T), "concat of shapes (2, 3), (3, 2)"),
        (lambda a: ops.minimum(a, a.T), "minimum of shapes (2, 3), (3, 2)"),
        (lambda a: a[:0].max(), "max of shapes (0, 3)"),
        (lambda a: ops.take_along_axis(a, [0], axis=0), "indices must have 2 axes"),
        (lambda a: ops.take_along_axis(a, [[0]], axis=2), "axis 2 is out of bounds"),
        (lambda a: ops.concat(a, a, axis=2), "concat of shapes (2, 3), (2, 3): axis 2"),
        (lambda a: ops.einsum(a, subscripts="...i->i"), "drops the axes that '...' stands for"),
        (lambda a: ops.einsum(a, subscripts="ij->k"), "asks for 'k', which no array has"),
        (lambda a: functional.linear(a, a, a), "linear wants (..., n), (n, m) and (m,)"),
        (lambda a: functional.layer_norm(a, a, a), "layer_norm wants (..., n), (n,) and (n,)"),
        (lambda a: functional.rms_norm(a, a), "rms_norm wants (..., n) and (n,)"),
        (
            lambda a: functional.rotary(a, [0]),
            "rotary wants (..., time, size), size even, and (time,)",
        ),
        (lambda a: functional.rnn(a, a), "rnn wants (rows, time, n) and (n, n)"),
        (lambda a: functional.gru(a, a), "gru wants (rows, time, 3 n) and (n, 3 n)"),
        (lambda a: functional.causal_attention(a, a, a), "attention wants q, k, v of (batch,"),
        (lambda a: functional.embedding(a[0], [0]), "wants a table with two axes"),
        (lambda a: functional.cross_entropy(a[:0], IDS[:0, 0]), "no targets to take a mean"),
    ],
)
def test_what_does_not_fit_is_named(call: Callable[[Tensor], Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        call(Tensor(np.ones((2, 3))))


def test_an_id_past_the_table_is_named() -> None:
    with pytest.raises(IndexError, match=r"ids range from 0 to 4, not in \[0, 4\)"):
        functional.embedding(Tensor(np.ones((4, 2))), np.array([0, 4]))


def test_a_tensor_as_exponent_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a number"):
        Tensor(2.0) ** Tensor(3.0)


def test_an_index_out_of_range_is_named() -> None:
    a = Tensor(np.ones((2, 3)))
    with pytest.raises(IndexError, match="targets range from 0 to 3"):
        functional.cross_entropy(a, np.array([0, 3]))
    with pytest.raises(IndexError, match=r"getitem of shapes \(2, 3\): index 2 is out of bounds"):
        a[2]
    with pytest.raises(IndexError, match=r"take_along_axis of shapes \(2, 3\), \(1, 3\): index 2"):
        ops.take_along_axis(a, np.full((1, 3), 2), axis=0)


def test_logsumexp_of_huge_and_of_infinite_numbers_is_exact() -> None:
    assert ops.logsumexp(Tensor(np.array([1e4, 1e4]))).item() == 1e4 + np.log(2)
    assert ops.logsumexp(Tensor(np.full(2, -np.inf))).item() == -np.inf
    assert ops.logsumexp(Tensor(np.ones((2, 0))), axis=1).value.tolist() == [-np.inf] * 2
    assert np.isnan(ops.logsumexp(Tensor(np.array([1.0, np.nan]))).item())


NUMPYS: dict[str, Callable[..., Any]] = {
    "concat": lambda *arrays, **options: np.concat(arrays, **options),
    "stack": lambda *arrays, **options: np.stack(arrays, **options),
    "einsum": lambda *arrays, subscripts: np.einsum(subscripts, *arrays),
    "power": lambda a, exponent: np.power(a, exponent),
    "norm": lambda a, axis=None, keepdims=False: np.sqrt(np.sum(a**2, axis, keepdims=keepdims)),
    "logsumexp": lambda a, **options: np.log(np.sum(np.exp(a), **options)),
    "reshape": lambda a, shape: np.reshape(a, shape),
    "astype": lambda a, dtype: np.astype(a, dtype),
}


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if getattr(case.function, "__module__", "") == ops.__name__],
    ids=lambda case: case.name,
)
def test_values_are_those_of_numpys_function_of_that_name(case: Case) -> None:
    arrays = [draw(np.random.default_rng(0)) for draw in case.draws]
    numpys = NUMPYS.get(case.op) or getattr(np, case.op)
    wanted = numpys(*arrays, **case.options)
    np.testing.assert_allclose(case(*map(Tensor, arrays)).value, wanted, rtol=1e-12, atol=1e-15)


# --- What an op takes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: a + "abc", "add takes no str as an array"),
        (lambda a: a * None, "multiply takes no NoneType as an array"),
        (lambda a: a * 1j, "multiply takes no complex as an array"),
        (lambda a: a + Value(3), "add takes no Value as an array"),
        (lambda a: ops.concat([a, a]), "concat takes Tensors one by one, not in a list"),
        (lambda a: ops.concat(), "concat wants an array at least"),
        (lambda a: ops.einsum("ij->ji", a), "einsum takes no str as an array (options go by key"),
        (lambda a: a.sum(0), "sum of shapes (2, 3), ()"),
        (lambda a: ops.where(a == 1, a, 0), "where takes an array of booleans as argument 0, not"),
        (lambda a: ops.where(a, a, 0), "where takes an array of booleans as argument 0, not float"),
        (lambda a: functional.embedding(a, [0.5]), "embedding takes an array of integers as argu"),
        (lambda a: functional.embedding(a, np.ones(2, bool)), "integers as argument 1, not bool"),
        (lambda a: functional.cross_entropy(a, [0.7, 1]), "cross_entropy takes an array of integ"),
    ],
)
def test_what_is_no_array_for_an_op_is_named(call: Callable[[Tensor], Tensor], said: str) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize(
    "call",
    [
        lambda a: a * np.arange(3),
        lambda a: a @ np.eye(3, dtype=int),
        lambda a: ops.maximum(a, [1, 0, 2]),
        lambda a: ops.where(a > 0, a, np.arange(3)),
        lambda a: ops.concat(a, np.ones((1, 3), bool)),
        lambda a: a.clip(min=np.float64(0)),
        lambda a: a ** np.float64(2),
        lambda a: a ** np.int64(2),
        lambda a: functional.softmax(a) * np.float64(2),
        lambda a: functional.embedding(a, [1, 0]),
    ],
)
def test_integers_lists_and_numbers_take_the_type_of_the_tensor(
    call: Callable[[Tensor], Tensor],
) -> None:
    a = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    out = call(a)
    assert out.dtype == np.float32
    out.sum().backward()
    assert a.grad is not None
    assert a.grad.dtype == np.float32


def test_an_array_of_integers_is_taken_as_one_of_floats() -> None:
    rng = np.random.default_rng(0)
    out = functional.dropout(np.arange(3), rate=0.5, rng=rng).value  # type: ignore[arg-type]
    assert set(out) <= {0.0, 2.0, 4.0}


def test_indices_may_change_before_the_walk_back() -> None:
    a, index = Tensor(np.ones(3), requires_grad=True), np.array([0, 1])
    out = a[index]
    index[:] = 2
    out.sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [1, 1, 0]


def test_shapes_and_axes_may_come_as_a_tuple() -> None:
    a = Tensor(np.ones((2, 3)))
    assert a.reshape((3, 2)).shape == a.reshape(3, 2).shape == (3, 2)
    assert a.transpose((1, 0)).shape == a.transpose(None).shape == a.transpose().shape == (3, 2)


# --- Digits that a difference does not see --------------------------------------------------------


@pytest.mark.parametrize("x", [-700.0, -40.0, -18.0, 0.0, 18.0, 700.0])
def test_sigmoid_has_all_its_digits_far_from_0(x: float) -> None:
    a = Tensor(x, requires_grad=True)
    out = functional.sigmoid(a)
    exact = math.exp(x) / (1 + math.exp(x)) if x < 0 else 1 / (1 + math.exp(-x))
    assert out.item() == pytest.approx(exact, rel=1e-15, abs=0)
    out.backward()
    assert a.grad == pytest.approx(exact * (1 - exact), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(("dtype", "scale"), [(np.float64, 1e-200), (np.float32, 1e20)])
def test_the_norm_neither_overflows_nor_underflows(dtype: Any, scale: float) -> None:
    a = Tensor(np.array([3, -4], dtype) * dtype(scale), requires_grad=True)
    out = ops.norm(a)
    out.backward()
    assert out.item() == pytest.approx(5 * scale)
    assert a.grad == pytest.approx(np.array([0.6, -0.8]))


def test_the_mean_of_equal_numbers_is_that_number() -> None:
    assert ops.mean(np.ones(49)).item() == 1
