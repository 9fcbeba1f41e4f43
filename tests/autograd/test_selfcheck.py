"""`lmladder gradcheck`, and the verdicts that it prints."""

import re
import sys
from collections.abc import Callable

from lmladder.autograd import OPS, gradcheck, op
from lmladder.autograd.cases import CASES
from lmladder.autograd.gradcheck import TOLERANCE
from lmladder.autograd.selfcheck import check_op, op_names
from lmladder.cli.main import main
from tests.autograd import mutation

import numpy as np
import pytest

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit status, output and error output of the command."""

    def command(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["lmladder", "gradcheck", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return command


def broken(op: str) -> mutation.Mutant:
    return next(mutation.mutants(op))


def test_the_command_prints_a_line_for_every_op(run: Run) -> None:
    status, out, err = run()
    assert (status, err) == (0, "")
    found = re.findall(r"^(\w+) +(\d+) +(\de-\d\d) +(\de-\d\d)$", out, re.MULTILINE)
    assert [name for name, *_ in found] == op_names()
    assert {name for name, *_ in found} >= OPS.keys()
    assert sum(int(rows) for _, rows, *_ in found) == len(CASES)
    assert all(float(error) < TOLERANCE for _, _, error, _ in found)


def test_a_wrong_gradient_ends_the_command_with_status_1_and_its_name(run: Run) -> None:
    with mutation.broken(broken("tanh")):
        status, out, err = run("exp", "tanh")
    assert (status, err) == (1, "error: wrong gradients: tanh\n")
    assert re.search(r"^tanh .* WRONG$", out, re.MULTILINE)
    assert not re.search(r"^exp .* WRONG$", out, re.MULTILINE)


def test_an_unknown_op_is_refused(run: Run) -> None:
    status, out, err = run("softmax", "sofmax")
    assert (status, out) == (2, "")
    assert err.startswith("error: no op 'sofmax'; choose from add, subtract, ")
    assert err.count("\n") == 1


def test_another_seed_draws_other_numbers(run: Run) -> None:
    assert run("exp", "gelu", "--seed", "1")[1] != run("exp", "gelu")[1]


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_verdicts_do_not_hang_on_the_seed(seed: int) -> None:
    assert [name for name in op_names() if not check_op(name, seed=seed).passed] == []


def test_a_row_that_raises_makes_a_verdict_of_nan() -> None:
    raising = (each for each in mutation.mutants("reshape") if each.kind == "inside")
    with mutation.broken(next(raising)):
        verdict = check_op("reshape")
    assert np.isnan(verdict.error)
    assert not verdict.passed


def test_a_gradient_of_nan_does_not_pass() -> None:
    @op
    def lost(a):  # type: ignore[no-untyped-def]
        def lost_pullback(grad):  # type: ignore[no-untyped-def]
            return (grad * np.nan,)

        return a * 2, lost_pullback

    del OPS["lost"]
    error = gradcheck(lost, [np.array([1.0, 2.0])], rng=np.random.default_rng(0))
    assert np.isnan(error)
    assert not error < TOLERANCE
