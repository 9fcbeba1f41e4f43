"""The cases of the gradient check find every wrong pullback."""

from lmladder.autograd import OPS
from lmladder.autograd.selfcheck import check_op, op_names
from tests.autograd import mutation

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("op", sorted(OPS.keys() & set(op_names())))
def test_every_mutant_of_an_op_is_caught(op: str) -> None:
    mutants = list(mutation.mutants(op))
    assert [str(mutant) for mutant in mutants if not mutation.is_caught(mutant)] == []
    assert {"sign", "factor", "axes"} <= {mutant.kind for mutant in mutants}
    assert check_op(op).passed  # the op is restored
