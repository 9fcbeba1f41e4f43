"""Blocks and threads: every index once, and the same bits for any number of threads."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from lmladder import kernels
from lmladder.kernels import apply_to_row_blocks, blocks, parallel_for, set_threads
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.streams import stream

import numpy as np
import pytest

COUNTS = [1, 2, 7]
each_count = pytest.mark.parametrize("n_threads", COUNTS)


def meet(n_threads: int) -> None:
    """Call tasks that wait for one another, which takes as many threads."""
    meeting = threading.Barrier(n_threads)
    parallel_for(lambda _: [meeting.wait(timeout=20)], n_threads)  # type: ignore[arg-type, return-value]


# --- parallel_for ---------------------------------------------------------------------------------


@each_count
def test_parallel_for_runs_every_index_once_and_returns_when_all_are_done(n_threads: int) -> None:
    set_threads(n_threads)
    pause = threading.Event()
    for count in (0, 1, 2, 8, 1000):
        runs = np.zeros(count, int)

        def task(index: int, runs: IntArray = runs) -> None:
            if len(runs) == 8:
                pause.wait(0.002 * (index % 3))
            runs[index] += 1

        parallel_for(task, count)
        assert (runs == 1).all()


@each_count
@pytest.mark.parametrize("failing", [0, 9])
def test_parallel_for_raises_what_a_task_raises_and_works_again(
    n_threads: int, failing: int
) -> None:
    set_threads(n_threads)

    def task(index: int) -> None:
        if index == failing:
            raise LookupError(f"task {index}")

    for _ in range(3):
        with pytest.raises(LookupError, match=f"task {failing}"):
            parallel_for(lambda index: parallel_for(task, 10), 4)  # nested, too
    done: list[int] = []
    parallel_for(done.append, 10)
    assert sorted(done) == list(range(10))


def interrupted_at(
    instruction: int, traced: Callable[[CodeType], bool], work: Callable[[], object]
) -> bool:
    """Return whether `work` came to this instruction of `traced` code, where there was a Ctrl-C."""
    executed = itertools.count()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not traced(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(executed) == instruction:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return next(executed) > instruction


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="3.12.1 traces no instructions here")
def test_ctrl_c_at_any_instruction_leaves_no_call_running_and_all_threads_usable() -> None:
    set_threads(3)
    running: set[int] = set()
    pause = threading.Event()

    def task(index: int) -> None:
        running.add(index)
        pause.wait(0.002)
        running.discard(index)

    def in_blocks(code: CodeType) -> bool:
        return code.co_filename == blocks.__file__

    instruction = 0
    while interrupted_at(instruction, in_blocks, lambda: parallel_for(task, 6)):
        assert not running
        meet(3)
        instruction += 1
    assert instruction > 100


FORKED = """
import os, threading, warnings
from lmladder.kernels import parallel_for, set_threads
warnings.simplefilter("ignore")  # newer Pythons warn of a fork where threads are running
set_threads(3)
parallel_for(lambda _: None, 50)  # starts the helpers, which the child will not have
if child := os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
meeting = threading.Barrier(3)
parallel_for(lambda _: meeting.wait(timeout=20), 3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_parallel_for_works_in_a_forked_child() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)


def test_set_threads_takes_none_for_all_cores() -> None:
    set_threads(None)
    assert kernels.threads() == blocks.runtime.available_cores()


# --- apply_to_row_blocks --------------------------------------------------------------------------


@each_count
def test_over_rows_adds_sums_in_the_order_of_the_rows(n_threads: int) -> None:
    set_threads(n_threads)
    # Of these numbers each order has a different sum; blocks end in an order that waiting changes.
    rows = stream(0, "rows").standard_normal((16, blocks.BLOCK_BYTES // 4))
    rows = (rows * np.logspace(-6, 6, 16)[:, None]).astype(np.float32)
    pause = threading.Event()

    def kernel(part: FloatArray, wait: float, total: FloatArray) -> None:
        pause.wait(wait * (part[0, 0] > 0))
        part.sum(axis=0, out=total)

    for wait in (0.0, 0.003):
        total = np.full(rows.shape[1], np.nan, np.float32)
        apply_to_row_blocks(kernel, [rows], wait, out=[], sums=[total])
        np.testing.assert_array_equal(total, np.add.reduce(rows, axis=0))
