"""The engine of single numbers against calculus; tests/autograd/test_graphs.py has whole graphs."""

import math
from collections.abc import Callable
from typing import Any

from examples.scalar import Value, dot

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


# --- Numbers --------------------------------------------------------------------------------------
