"""`lmladder gradcheck`, the verdicts that it prints, and the check behind them."""

import re
from collections.abc import Callable
from typing import Any

from lmladder.autograd import OPS, Tensor, gradcheck, op, ops
from lmladder.autograd.cases import CASES
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.autograd.selfcheck import check_op, op_names
from tests.autograd import mutation
from tests.conftest import Done

import numpy as np
import pytest

RNG = np.random.default_rng(0)


def test_the_command_prints_a_line_for_every_op(lmladder: Callable[..., Done]) -> None:
    done = lmladder("gradcheck").succeeded()
    found = re.findall(r"^(\w+) +(\d+) +(\de-\d\d) +(\de-\d\d)$", done.stdout, re.MULTILINE)
    assert [name for name, *_ in found] == op_names()
    assert sum(int(cases) for _, cases, *_ in found) == len(CASES)
    assert all(float(error) < TOLERANCE for _, _, error, _ in found)


def test_a_wrong_gradient_ends_the_command_with_status_1_and_its_name(
    lmladder: Callable[..., Done],
) -> None:
    with mutation.broken(next(mutation.mutants("tanh"))):
        done = lmladder("gradcheck", "exp", "tanh")
    assert done.status == 1
    assert "tanh" in done.stderr
    assert re.findall(r"^(\w+) .* WRONG$", done.stdout, re.MULTILINE) == ["tanh"]


def test_an_unknown_op_is_rejected(lmladder: Callable[..., Done]) -> None:
    done = lmladder("gradcheck", "softmax", "sofmax")
    done.failed_in_one_line(2, "'sofmax'; choose from add, subtract, ")
    assert done.stdout == ""


def test_a_case_that_raises_gives_a_verdict_of_nan() -> None:
    raising = (each for each in mutation.mutants("reshape") if each.kind == "inside")
    with mutation.broken(next(raising)):
        verdict = check_op("reshape")
    assert np.isnan(verdict.error)
    assert not verdict.passed


@pytest.mark.parametrize("factor", [2.001, np.nan])
def test_gradcheck_finds_a_wrong_factor(factor: float) -> None:
    @op
    def wrong(a: Any) -> Any:
        def wrong_pullback(grad: Any) -> Any:
            return (grad * factor * a,)

        return a * a, wrong_pullback

    del OPS["wrong"]
    assert not gradcheck(wrong, [np.array([1.0, 2.0])], rng=RNG) < 1e-4


def test_gradcheck_rejects_what_it_cannot_move() -> None:
    for unmovable in (Tensor(1.0), Tensor(1.0, requires_grad=True) * 2.0):
        with pytest.raises(ValueError, match="leaves with requires_grad"):
            gradcheck(ops.exp, [unmovable], rng=RNG)
    with pytest.raises(TypeError, match="float32"):
        gradcheck(ops.exp, [np.ones(2, np.float32)], rng=RNG)
