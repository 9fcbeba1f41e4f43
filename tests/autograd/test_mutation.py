"""The rows of the gradient check see every wrong pullback."""

import inspect

from lmladder.autograd import OPS
from lmladder.autograd.selfcheck import check_op
from lmladder.kernels import reference
from tests.autograd import mutation

import pytest


@pytest.mark.parametrize("op", sorted(OPS))
def test_every_mutant_of_an_op_is_caught(op: str) -> None:
    mutants = list(mutation.mutants(op))
    assert [str(mutant) for mutant in mutants if not mutation.is_caught(mutant)] == []
    assert {"sign", "factor", "axes"} <= {mutant.kind for mutant in mutants}
    assert check_op(op).passed  # all is as it was


def test_every_backward_kernel_is_among_the_mutated_functions() -> None:
    mutated = {function for functions in mutation.BACKWARD.values() for function in functions}
    kernels = {
        function
        for name, function in inspect.getmembers(reference, inspect.isfunction)
        if name.endswith("_backward")
    }
    assert kernels <= mutated


def test_a_mutant_runs_in_place_of_the_op_and_no_longer() -> None:
    (sign,) = (each for each in mutation.mutants("exp") if each.kind == "sign")
    with mutation.broken(sign):
        assert not check_op("exp").passed
    assert check_op("exp").passed
