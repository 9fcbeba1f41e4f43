"""`lmladder gradcheck`, the verdicts that it prints, and the check behind them."""

import re
import sys
from collections.abc import Callable
from typing import Any

from lmladder.autograd import OPS, Tensor, gradcheck, op, ops
from lmladder.autograd.cases import CASES
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.autograd.selfcheck import check_op, op_names
from lmladder.cli.main import main
from tests.autograd import mutation

import numpy as np
import pytest

Run = Callable[..., tuple[object, str, str]]

RNG = np.random.default_rng(0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command: exit status, output and error output."""

    def command(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["lmladder", "gradcheck", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return command


def test_the_command_prints_a_line_for_every_op(run: Run) -> None:
    status, out, err = run()
    assert (status, err) == (0, "")
    found = re.findall(r"^(\w+) +(\d+) +(\de-\d\d) +(\de-\d\d)$", out, re.MULTILINE)
    assert [name for name, *_ in found] == op_names()
    assert sum(int(cases) for _, cases, *_ in found) == len(CASES)
    assert all(float(error) < TOLERANCE for _, _, error, _ in found)


def test_a_wrong_gradient_ends_the_command_with_status_1_and_its_name(run: Run) -> None:
    with mutation.broken(next(mutation.mutants("tanh"))):
        status, out, err = run("exp", "tanh")
    assert status == 1
    assert "tanh" in err
    assert re.search(r"^tanh .* WRONG$", out, re.MULTILINE)
    assert not re.search(r"^exp .* WRONG$", out, re.MULTILINE)


def test_an_unknown_op_is_rejected(run: Run) -> None:
    status, out, err = run("softmax", "sofmax")
    assert (status, out) == (2, "")
    assert "'sofmax'" in err
    assert "; choose from add, subtract, " in err
    assert err.count("\n") == 1


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
