"""The cases of the gradient check find every wrong pullback."""

from lmladder.autograd import OPS
from tests.autograd import mutation
from tests.autograd.cases import OP_NAMES, failures

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("op", sorted(OPS.keys() & set(OP_NAMES)))
def test_every_mutant_of_an_op_is_caught(op: str) -> None:
    mutants = list(mutation.mutants(op))
    assert [str(mutant) for mutant in mutants if not mutation.is_caught(mutant)] == []
    assert {"sign", "factor", "axes"} <= {mutant.change.partition(" ")[0] for mutant in mutants}
    assert not any(failures(op))  # the op is restored
