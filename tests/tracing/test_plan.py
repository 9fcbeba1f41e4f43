"""Blocks of memory that are needed at the same time do not overlap; others share it."""

from lmladder.tracing.plan import ALIGNMENT, _placed
from tests.tracing.test_trace import plan_of

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

spans = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda ends: (min(ends), max(ends)))


@given(st.lists(st.tuples(spans, st.integers(0, 500)), max_size=40))
def test_blocks_that_are_needed_at_the_same_time_do_not_overlap(
    blocks: list[tuple[tuple[int, int], int]],
) -> None:
    sizes = [nbytes for _, nbytes in blocks]
    needed = {number: span for number, (span, _) in enumerate(blocks)}
    starts, end = _placed(needed, sizes)
    assert starts.keys() == needed.keys()
    for one, (first, last) in needed.items():
        assert starts[one] % ALIGNMENT == 0
        assert starts[one] + sizes[one] <= end
        for other in range(one):
            together = first <= needed[other][1] and needed[other][0] <= last
            after = starts[one] + sizes[one] <= starts[other]
            assert not together or after or starts[other] + sizes[other] <= starts[one]


def test_a_chain_needs_the_memory_of_two_results() -> None:
    def chain(x: np.ndarray) -> np.ndarray:
        for _ in range(10):
            x = x + 1.0
        return x

    plan = plan_of(chain, np.ones(1000))
    scratch = plan.scratch()
    assert scratch.nbytes < 2.1 * 8000
    program = plan.program(scratch)
    program(np.full(1000, 5.0))
    assert set(program.results[0]) == {15.0}


def test_results_are_contiguous_even_if_one_array_is_two_of_them() -> None:
    def results(x: np.ndarray) -> list[np.ndarray]:
        y = x + 1
        return [y, y, y[::-1], y.sum()]

    plan = plan_of(results, np.arange(3.0))
    program = plan.program(plan.scratch())
    program(np.arange(3.0) * 10)
    y = [1, 11, 21]
    assert [each.tolist() for each in program.results] == [y, y, y[::-1], sum(y)]
    vector = program.memory.view(np.float64)
    assert vector[vector != 0].tolist() == [1, 11, 21, 1, 11, 21, 21, 11, 1, 33]
    program.results[0][:] = 0
    assert program.results[1].tolist() == [1, 11, 21]
