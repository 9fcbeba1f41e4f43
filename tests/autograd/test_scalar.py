"""The engine of single numbers against calculus; tests/autograd/test_graphs.py has whole graphs."""

import gc
import math
import sys
import weakref
from collections.abc import Callable
from typing import Any

from examples.scalar import Value, dot

import numpy as np
import pytest

Numbers = tuple[float, ...]


def gradients(function: Callable[..., Value], numbers: Numbers) -> list[float]:
    leaves = [Value(number) for number in numbers]
    function(*leaves).backward()
    return [leaf.grad for leaf in leaves]


# A function, where, its value there and its derivatives, by calculus.
CASES: dict[str, tuple[Callable[..., Value], Numbers, float, Numbers]] = {
    "a + b": (lambda a, b: a + b, (3.0, 2.0), 5.0, (1.0, 1.0)),
    "2 - (a - 2)": (lambda a: 2 - (a - 2), (3.0,), 1.0, (-1.0,)),
    "a * b": (lambda a, b: a * b, (3.0, 2.0), 6.0, (2.0, 3.0)),
    "a / b": (lambda a, b: a / b, (3.0, 2.0), 1.5, (0.5, -0.75)),
    "2 / (a / 2)": (lambda a: 2 / (a / 2), (4.0,), 1.0, (-0.25,)),
    "-a": (lambda a: -a, (3.0,), -3.0, (-1.0,)),
    "a ** 3": (lambda a: a**3, (-2.0,), -8.0, (12.0,)),
    "a ** 0": (lambda a: a**0, (0.0,), 1.0, (0.0,)),
    "a ** b": (lambda a, b: a**b, (2.0, 3.0), 8.0, (12.0, 8 * math.log(2))),
    "2 ** a": (lambda a: 2**a, (3.0,), 8.0, (8 * math.log(2),)),
    "exp": (lambda a: a.exp(), (2.0,), math.exp(2), (math.exp(2),)),
    "log": (lambda a: a.log(), (4.0,), math.log(4), (0.25,)),
    "sqrt": (lambda a: a.sqrt(), (4.0,), 2.0, (0.25,)),
    "tanh": (lambda a: a.tanh(), (0.5,), math.tanh(0.5), (math.cosh(0.5) ** -2,)),
    "relu above 0": (lambda a: a.relu(), (2.0,), 2.0, (1.0,)),
    "relu at 0": (lambda a: a.relu(), (0.0,), 0.0, (0.0,)),
    "dot": (lambda a, b, c, d: dot([a, b], (c, d)), (1, 2, 3, 4), 11.0, (3, 4, 1, 2)),
    "dot with itself": (lambda a, b: dot([a, b], [a, b]), (3.0, 4.0), 25.0, (6.0, 8.0)),
    "own": (lambda a: Value(math.sin(a.data), (a,), (0.5,)) * 2, (0.3,), 2 * math.sin(0.3), (1.0,)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_derivatives_are_those_of_calculus(case: Any) -> None:
    function, numbers, value, slopes = case
    assert function(*map(Value, numbers)).data == pytest.approx(value, rel=1e-14)
    assert gradients(function, numbers) == pytest.approx(slopes, rel=1e-14)


# --- Backward passes ------------------------------------------------------------------------------


def test_passes_through_graphs_that_overlap_do_not_mix() -> None:
    a = Value(3.0)
    shared = a * a
    outer = shared * shared
    outer.backward()
    outer.backward()
    assert a.grad == 2 * 4 * 27
    assert (outer.grad, shared.grad) == (1, 18)  # those of one pass
    a.grad = 0.0
    (shared * 5 + a).backward()
    assert (a.grad, shared.grad) == (5 * 6 + 1, 5)


# --- Memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("differentiated", [False, True])
def test_a_long_chain_is_differentiated_and_freed_without_recursion(differentiated: bool) -> None:
    gc.collect()
    gc.disable()
    try:
        a = Value(1.0)
        out = middle = a * 2
        for _ in range(10 * sys.getrecursionlimit()):
            out = out + 1
        if differentiated:
            out.backward()
            assert a.grad == 2
        gone = weakref.ref(middle)
        del middle
        assert gone() is not None
        del out
        assert gone() is None
    finally:
        gc.enable()


# --- Numbers --------------------------------------------------------------------------------------


def test_comparisons_are_those_of_the_numbers_and_equality_is_identity() -> None:
    one, two, other = Value(1.0), Value(2.0), Value(1.0)
    assert 0 < one < two <= 2 < Value(3.0) >= 3 > one
    assert not one < other
    assert len({one, other, one}) == 2
    assert float(two) == 2


def test_arrays_of_values_are_computed_element_by_element() -> None:
    x = np.array([Value(-1.0), Value(2.0)], dtype=object)
    assert [each.data for each in np.exp(np.tanh(x))] == [math.exp(math.tanh(n)) for n in (-1, 2)]
    assert [each.data for each in np.log(np.sqrt(x * x))] == [math.log(1), math.log(2)]
    assert x.max() is x[1]
    for out in (x[0] * x, x * x[0], np.float64(-1) * x, x * np.float64(-1), x * -np.ones(2)):
        assert [each.data for each in out] == [1, -2]
