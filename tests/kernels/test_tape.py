"""What a tape records is done again with the same numbers, in memory that is shared safely."""

from lmladder.arrays import Array
from lmladder.kernels import tape
from lmladder.kernels.tape import ALIGNMENT, Program, RefusedError, Tape, _Gaps

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def program_of(recorder: Tape, results: list[Array]) -> Program:
    plan = recorder.finish(results)
    return plan.program(plan.scratch())


@given(st.data())
def test_blocks_that_are_needed_at_a_time_do_not_overlap(data: st.DataObject) -> None:
    gaps, blocks, most = _Gaps(), dict[int, int](), 0
    for _ in range(data.draw(st.integers(1, 40))):
        if blocks and data.draw(st.booleans()):
            start = data.draw(st.sampled_from(sorted(blocks)))
            gaps.give_back(start, blocks.pop(start))
        else:
            size = data.draw(st.integers(1, 500))
            start = gaps.take(size)
            assert start % ALIGNMENT == 0
            for other, length in blocks.items():
                assert start + size <= other or other + length <= start
            blocks[start] = size
        most = max(most, sum(-(-size // ALIGNMENT) * ALIGNMENT for size in blocks.values()))
        assert most <= gaps.end
    for start, size in blocks.items():
        gaps.give_back(start, size)
    assert gaps.free == [(0, gaps.end)]


def test_a_chain_needs_the_memory_of_two_links() -> None:
    x = np.ones(1000)
    recorder = Tape([x])
    with recorder.on():
        y = x
        for _ in range(10):
            y = tape.apply(np.add, y, 1.0)
    plan = recorder.finish([y])
    scratch = plan.scratch()
    assert scratch.nbytes < 2.1 * x.nbytes
    program = plan.program(scratch)
    program(np.full(1000, 5.0))
    assert set(program.results[0]) == {15.0}


def test_views_of_what_was_made_are_followed_and_copies_are_made_again() -> None:
    x = np.arange(6.0).reshape(2, 3)
    recorder = Tape([x])
    with recorder.on():
        flat = tape.reshape(tape.apply(np.multiply, x, 2.0).T, 6)  # a copy
        row = tape.contiguous(flat[::-2])
        again = tape.apply(np.add.reduce, row[None], 0, None)
    program = program_of(recorder, [flat, again])
    x += 1
    program(x)
    assert program.results[0].tolist() == (2 * x).T.reshape(6).tolist()
    assert program.results[1].tolist() == (2 * x).T.reshape(6)[::-2].tolist()


def test_results_lie_in_a_row_and_apart_though_one_array_is_two_of_them() -> None:
    x = np.arange(3.0)
    recorder = Tape([x])
    with recorder.on():
        y = tape.apply(np.add, x, 1.0)
    program = program_of(recorder, [y, y, y[::-1], np.float64(7)[()] * np.ones(())])
    program(np.arange(3.0) * 10)
    assert [each.tolist() for each in program.results] == [[1, 11, 21], [1, 11, 21], [21, 11, 1], 7]
    row = program.in_a_row(np.float64)
    assert row[row != 0].tolist() == [1, 11, 21, 1, 11, 21, 21, 11, 1, 7]
    program.results[0][:] = 0
    assert program.results[1].tolist() == [1, 11, 21]


def test_two_programs_of_one_tape_have_results_of_their_own() -> None:
    x = np.arange(3.0)
    recorder = Tape([x])
    with recorder.on():
        y = tape.apply(np.add, x, 1.0)
    plan = recorder.finish([y])
    scratch = plan.scratch()  # they may work in one, if one after the other
    one, other = plan.program(scratch), plan.program(scratch)
    one(x)
    other(10 * x)
    assert one.results[0].tolist() == [1, 2, 3]
    assert other.results[0].tolist() == [1, 11, 21]


def test_a_generator_is_taken_from_the_inputs_of_each_call() -> None:
    recorder = Tape([generator := np.random.default_rng(0)])
    with recorder.on():
        out = tape.empty(3, np.float64)
        tape.run(lambda rng, out: rng.random(out=out), generator, out)
    program = program_of(recorder, [out])
    for seed in (7, 8):
        program(np.random.default_rng(seed))
        assert program.results[0].tolist() == np.random.default_rng(seed).random(3).tolist()


def test_an_array_from_elsewhere_is_refused_with_the_name_of_what_reads_it() -> None:
    recorder = Tape()
    with recorder.on():
        out = tape.apply(np.add, np.ones(3), 1.0)
    with pytest.raises(RefusedError, match=r"^add reads an array of shape \(3,\) that was made"):
        recorder.finish([out])


def test_a_result_from_elsewhere_is_refused() -> None:
    with pytest.raises(RefusedError, match="made elsewhere"):
        Tape().finish([np.ones(3)])


def test_without_a_tape_nothing_is_noted() -> None:
    recorder = Tape()
    with recorder.on():
        pass
    tape.apply(np.add, np.ones(3), 1.0)
    assert tape.recording() is None
    assert recorder.finish([]).scratch().nbytes == 0
