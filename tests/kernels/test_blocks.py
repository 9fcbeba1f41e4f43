"""Blocks and threads: every index once, and the same bits however many threads there are."""

import contextlib
import gc
import itertools
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from lmladder import kernels
from lmladder.kernels import (
    blocks,
    over_rows,
    parallel_for,
    reference,
    set_threads,
    threaded,
    tiles,
)
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.streams import stream

import numpy as np
import pytest

COUNTS = [1, 2, 3, 7]


def normal(name: str, *shape: int, dtype: type = np.float32) -> FloatArray:
    """Frozen random numbers: writing to them raises."""
    array = stream(0, name).standard_normal(shape).astype(dtype)
    array.flags.writeable = False
    return array


# --- share ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 5, 1000])
@pytest.mark.parametrize("n_threads", COUNTS)
def test_share_runs_every_index_once(n_threads: int, count: int) -> None:
    set_threads(n_threads)
    runs = np.zeros(count, int)

    def task(index: int) -> None:
        runs[index] += 1

    parallel_for(task, count)
    assert (runs == 1).all()


@pytest.mark.parametrize("n_threads", COUNTS)
def test_share_returns_only_when_all_are_done(n_threads: int) -> None:
    set_threads(n_threads)
    pause = threading.Event()
    done: list[int] = []

    def task(index: int) -> None:
        pause.wait(0.002 * (index % 3))
        done.append(index)

    for _ in range(5):
        done.clear()
        parallel_for(task, 8)
        assert sorted(done) == list(range(8))


def test_share_uses_as_many_threads_as_were_set() -> None:
    set_threads(3)
    meeting = threading.Barrier(3)  # opens only when three threads stand before it
    parallel_for(lambda _: [meeting.wait(timeout=20)], 3)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("failing", [0, 3, 9])
@pytest.mark.parametrize("n_threads", COUNTS)
def test_share_raises_what_a_task_raises_and_goes_on_working(n_threads: int, failing: int) -> None:
    set_threads(n_threads)

    def task(index: int) -> None:
        if index == failing:
            raise LookupError(f"task {index}")

    for _ in range(3):
        with pytest.raises(LookupError, match=f"task {failing}"):
            parallel_for(task, 10)
    done: list[int] = []
    parallel_for(done.append, 10)
    assert sorted(done) == list(range(10))


@pytest.mark.parametrize("n_threads", COUNTS)
def test_a_task_may_share_in_its_turn(n_threads: int) -> None:
    set_threads(n_threads)
    runs = np.zeros((6, 5, 4), int)

    def outer(i: int) -> None:
        def middle(j: int) -> None:
            def inner(k: int) -> None:
                runs[i, j, k] += 1

            parallel_for(inner, 4)

        parallel_for(middle, 5)

    for _ in range(20):
        runs[:] = 0
        parallel_for(outer, 6)
        assert (runs == 1).all()


def test_an_error_passes_through_nested_shares() -> None:
    set_threads(3)

    def inner(index: int) -> None:
        raise KeyError(index)

    with pytest.raises(KeyError):
        parallel_for(lambda _: parallel_for(inner, 4), 4)


def run_interrupted(work: Callable[[], None], instruction: int) -> bool:
    """Whether Ctrl-C came in `work`: at this of the instructions that blocks.py executes for it."""
    executed = itertools.count()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != blocks.__file__:
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
        return True
    finally:
        sys.settrace(before)
    return False


def test_ctrl_c_at_any_instruction_leaves_no_call_under_way_and_all_threads_of_use() -> None:
    set_threads(3)
    under_way: set[int] = set()
    pause, meeting = threading.Event(), threading.Barrier(3)

    def task(index: int) -> None:
        under_way.add(index)
        pause.wait(0.002)
        under_way.discard(index)

    instruction = 0
    while run_interrupted(lambda: parallel_for(task, 6), instruction):
        assert not under_way
        parallel_for(lambda _: [meeting.wait(timeout=20)], 3)  # type: ignore[arg-type, return-value]
        instruction += 1
    assert instruction > 100


def test_an_error_and_the_arrays_of_its_task_are_freed_without_the_garbage_collector() -> None:
    set_threads(2)
    held = np.zeros(3)
    freed = weakref.ref(held)

    def task(index: int, held: FloatArray = held) -> None:
        raise LookupError

    gc.disable()
    try:
        with contextlib.suppress(LookupError):
            parallel_for(task, 4)
        del task, held
        waiting = threading.Event()
        assert any(freed() is None or waiting.wait(0.01) for _ in range(500))  # for the helper too
    finally:
        gc.enable()


def test_threads_may_share_at_the_same_time() -> None:
    set_threads(3)
    runs = np.zeros((4, 200), int)

    def caller(row: int) -> None:
        def task(index: int) -> None:
            runs[row, index] += 1

        for start in range(0, 200, 20):
            parallel_for(lambda index: task(start + index), 20)  # noqa: B023

    callers = [threading.Thread(target=caller, args=(row,)) for row in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert (runs == 1).all()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_share_works_in_a_forked_child() -> None:
    # In a process of its own, as newer Pythons warn of a fork where threads are running.
    program = """
import os, threading, warnings
from lmladder.kernels import set_threads, parallel_for, threads
warnings.simplefilter("ignore")
set_threads(3)
parallel_for(lambda _: None, 50)  # starts the helpers, whom the child will not have
child = os.fork()
if child == 0:
    try:
        meeting = threading.Barrier(3)  # opens only when three threads stand before it
        parallel_for(lambda _: meeting.wait(timeout=20), 3)
        done = []
        parallel_for(done.append, 50)
        os._exit(0 if sorted(done) == list(range(50)) and threads() == 3 else 1)
    finally:
        os._exit(2)
_, status = os.waitpid(child, 0)
done = []
parallel_for(done.append, 50)
assert sorted(done) == list(range(50))
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_set_threads_refuses_less_than_one_and_takes_none_for_all_cores() -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"at least 1, got {wrong}"):
            set_threads(wrong)
    set_threads(5)
    assert kernels.threads() == 5
    set_threads(None)
    assert kernels.threads() == blocks.runtime.available_cores()


# --- The same bits for any number of threads ------------------------------------------------------


def assert_same_for_any_threads(compute: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
    """The result for one thread, after comparing its bits with those for several."""
    set_threads(1)
    expected = compute()
    for n_threads in COUNTS[1:]:
        set_threads(n_threads)
        for ours, right in zip(compute(), expected, strict=True):
            assert ours.dtype == right.dtype
            np.testing.assert_array_equal(ours, right)
    return expected


# Big enough to be cut, and no multiple of a block: a (n, k), b (k, m).
PRODUCTS = {
    "many rows": (normal("a", 1013, 97), normal("b", 97, 131)),
    "few rows": (normal("a", 65, 300), normal("b", 300, 701)),
    "one row": (normal("a", 1, 67), normal("b", 67, 131)),
    "one column": (normal("a", 1013, 67), normal("b", 67, 1)),
    "one inner": (normal("a", 1013, 1), normal("b", 1, 131)),
    "no rows": (normal("a", 0, 67), normal("b", 67, 131)),
    "batched rows": (normal("a", 3, 347, 67), normal("b", 67, 131)),
    "a transposed": (normal("a", 67, 1013).T, normal("b", 67, 131)),
    "b transposed": (normal("a", 1013, 67), normal("b", 131, 67).T),
    "both strided": (normal("a", 1013, 134)[::-1, ::2], normal("b", 134, 262)[::2, ::-2]),
    "heads split": (normal("a", 2, 3, 347, 67).transpose(0, 2, 1, 3), normal("b", 67, 131)),
    "batched b": (normal("a", 3, 1, 40, 67), normal("b", 5, 67, 31)),
    "vector b": (normal("a", 40, 67), normal("b", 67)),
    "float64": (normal("a", 1013, 67, dtype=np.float64), normal("b", 67, 131, dtype=np.float64)),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_matmul_is_right_and_the_same_for_any_threads(case: str) -> None:
    a, b = PRODUCTS[case]
    (found,) = assert_same_for_any_threads(lambda: (kernels.matmul(a, b),))
    assert found.dtype == a.dtype
    expected = np.matmul(a.astype(np.float64), b.astype(np.float64))
    tolerance = 1e-12 if a.dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", PRODUCTS)
def test_matmul_adds_the_bias_to_each_row(case: str) -> None:
    a, b = PRODUCTS[case]
    bias = normal("bias", *b.shape[-1:] if b.ndim > 1 else (), dtype=a.dtype.type)
    (found,) = assert_same_for_any_threads(lambda: (kernels.matmul(a, b, bias),))
    np.testing.assert_array_equal(found, kernels.matmul(a, b) + bias)


@pytest.mark.parametrize("shape", [(2, 0), (0, 0), (3, 2, 0)], ids=str)
def test_matmul_over_nothing_is_zero(shape: tuple[int, ...]) -> None:
    found = kernels.matmul(np.ones(shape), np.ones((0, 4)))
    np.testing.assert_array_equal(found, np.zeros((*shape[:-1], 4)))


# --- over_rows ------------------------------------------------------------------------------------


def test_over_rows_cuts_and_joins_without_loss() -> None:
    rows = normal("rows", 2013, 97)  # several blocks and a bit
    factors = normal("factors", 2013)
    seen: list[int] = []

    def kernel(
        part: FloatArray,
        factor: FloatArray,
        shift: float,
        product: FloatArray,
        largest: FloatArray,
        total: FloatArray,
        count: IntArray,
    ) -> None:
        seen.append(len(part))
        np.multiply(part, factor[:, None], out=product)
        product += shift
        part.max(axis=1, out=largest)
        part.sum(axis=0, out=total)
        count[...] = len(part)

    product, largest = np.empty_like(rows), np.empty(2013, np.float32)
    total, count = np.empty(97, np.float32), np.empty(1, int)
    over_rows(kernel, [rows, factors], 2.0, out=[product, largest], sums=[total, count])
    assert len(seen) > 2
    assert sum(seen) == 2013 == count[0]
    np.testing.assert_array_equal(product, rows * factors[:, None] + np.float32(2))
    np.testing.assert_array_equal(largest, rows.max(axis=1))
    np.testing.assert_allclose(total, rows.sum(axis=0, dtype=np.float64), atol=1e-3)


@pytest.mark.parametrize("n_rows", [0, 1, 2, 15, 16, 17, 1000, 2013])
def test_over_rows_visits_every_row_once_in_blocks_that_shapes_alone_decide(n_rows: int) -> None:
    size = 97 if n_rows >= 1000 else blocks.BLOCK_BYTES // 4 + 1  # wider than a block
    numbers = np.zeros((n_rows, size), np.float32)
    numbers[:, 0] = np.arange(n_rows)
    cuts = []
    for n_threads in COUNTS:
        set_threads(n_threads)
        visits = np.zeros(n_rows, int)
        parts: list[tuple[int, ...]] = []

        def kernel(part: FloatArray, visit: IntArray, parts: list[tuple[int, ...]] = parts) -> None:
            visit += 1
            parts.append(tuple(part[:, 0].astype(int)))

        over_rows(kernel, [numbers], out=[visits])
        assert (visits == 1).all()
        cuts.append(sorted(parts))
    assert all(cut == cuts[0] for cut in cuts)
    assert sorted(sum(cuts[0], ())) == list(range(n_rows))
    assert len(cuts[0]) <= blocks.ROW_BLOCKS


@pytest.mark.parametrize("n_threads", COUNTS)
def test_over_rows_adds_sums_in_the_order_of_the_rows(n_threads: int) -> None:
    set_threads(n_threads)
    # Of these numbers each order has a sum of its own; blocks end in an order that waiting changes.
    rows = normal("rows", 16, blocks.BLOCK_BYTES // 4) * np.logspace(-6, 6, 16)[:, None]
    rows = rows.astype(np.float32)
    pause = threading.Event()

    def kernel(part: FloatArray, wait: float, total: FloatArray) -> None:
        pause.wait(wait * (part[0, 0] > 0))
        part.sum(axis=0, out=total)

    for wait in (0.0, 0.003):
        total = np.full(rows.shape[1], np.nan, np.float32)
        over_rows(kernel, [rows], wait, out=[], sums=[total])
        np.testing.assert_array_equal(total, np.add.reduce(rows, axis=0))


def test_over_rows_without_rows_still_writes_the_sums() -> None:
    total = np.full(5, np.nan)
    over_rows(lambda part, out: part.sum(axis=0, out=out), [np.ones((0, 5))], out=[], sums=[total])
    np.testing.assert_array_equal(total, np.zeros(5))


@pytest.mark.parametrize("n_threads", COUNTS)
@pytest.mark.parametrize("n_rows", [1, 16])
def test_over_rows_raises_what_a_kernel_raises(n_rows: int, n_threads: int) -> None:
    set_threads(n_threads)

    def kernel(part: FloatArray, out: FloatArray) -> None:
        raise LookupError("no such row")

    rows = normal("rows", n_rows, blocks.BLOCK_BYTES // 4)
    with pytest.raises(LookupError, match="no such row"):
        over_rows(kernel, [rows], out=[np.empty_like(rows)])


# --- The kernels ----------------------------------------------------------------------------------

either_choice = pytest.mark.parametrize("choice", threaded.CHOICES)


def _rows(name: str, n: int = 67) -> FloatArray:
    """Awkward rows: 7 x 211 of n floats, more than two blocks, a transposed view."""
    return normal(name, 211, 7, n).transpose(1, 0, 2)


def _layer_norm_backward() -> tuple[Array, ...]:
    x, weight = _rows("x"), normal("weight", 67)
    _, mean, inverse = kernels.layer_norm(x, weight, weight, 1e-5)
    return kernels.layer_norm_backward(_rows("grad"), x, mean, inverse, weight)


def _rms_norm_backward() -> tuple[Array, ...]:
    x, weight = _rows("x"), normal("weight", 67)
    _, inverse = kernels.rms_norm(x, weight, 1e-5)
    return kernels.rms_norm_backward(_rows("grad"), x, inverse, weight)


def _cross_entropy_backward() -> tuple[Array, ...]:
    logits = _rows("x")
    targets = stream(0, "targets").integers(67, size=(7, 211))
    nats, log_total = kernels.cross_entropy(logits, targets)
    grad = normal("nats", 1)
    return nats, log_total, kernels.cross_entropy_backward(grad, logits, targets, log_total)


def _adam() -> tuple[Array, ...]:
    grad, mean, square, value = (normal(name, 150_000).copy() for name in ("g", "m", "s", "v"))
    square **= 2
    settings = (0.9, 0.999, 1e-8, 0.5, 1e-3, 0.1, 0.001, 0.99)
    kernels.adam(kernels.cut(grad, mean, square, value), *settings)
    return mean, square, value, np.array(kernels.square_sums([grad, mean]))


def _scatter_rows() -> tuple[Array, ...]:
    return (kernels.scatter_rows(normal("grad", 999, 67), np.arange(999) ** 2 % 50, 50),)


def _attention(length: int, n_keys: int) -> Callable[[], tuple[Array, ...]]:
    def compute() -> tuple[Array, ...]:
        # laid out as a layer splits its heads: (batch, time, heads, size) seen with heads first
        q, grad = (normal(name, 2, length, 3, 8).transpose(0, 2, 1, 3) for name in ("q", "grad"))
        k, v = (normal(name, 2, n_keys, 3, 8).transpose(0, 2, 1, 3) for name in ("k", "v"))
        out, log_total = kernels.attention(q, k, v)
        assert out.strides == q.strides
        return out, log_total, *kernels.attention_backward(grad, q, k, v, out, log_total)

    return compute


ROW_KERNELS: dict[str, Callable[[], tuple[Array, ...]]] = {
    "softmax": lambda: (kernels.softmax(_rows("x")),),
    "gelu": lambda: (kernels.gelu(_rows("x")),),
    "gelu_backward": lambda: (kernels.gelu_backward(_rows("grad"), _rows("x")),),
    "gelu_tanh": lambda: (kernels.gelu_tanh(_rows("x")),),
    "gelu_tanh_backward": lambda: (kernels.gelu_tanh_backward(_rows("grad"), _rows("x")),),
    "layer_norm": lambda: kernels.layer_norm(
        _rows("x"), normal("weight", 67), normal("bias", 67), 1e-5
    ),
    "layer_norm_backward": _layer_norm_backward,
    "rms_norm": lambda: kernels.rms_norm(_rows("x"), normal("weight", 67), 1e-5),
    "rms_norm_backward": _rms_norm_backward,
    "cross_entropy": _cross_entropy_backward,
    "adam": _adam,
    "scatter_rows": _scatter_rows,
    "attention": _attention(131, 131),
    "attention of the last queries": _attention(5, 300),
}


@either_choice
@pytest.mark.parametrize("kernel", ROW_KERNELS)
def test_kernel_gives_the_same_bits_for_any_threads(kernel: str, choice: str) -> None:
    kernels.select(choice)
    assert_same_for_any_threads(ROW_KERNELS[kernel])


@either_choice
def test_cutting_rows_does_not_change_them(choice: str) -> None:
    kernels.select(choice)
    x, weight, bias = _rows("x"), normal("weight", 67), normal("bias", 67)
    flat = np.ascontiguousarray(x).reshape(-1, 67)
    found = kernels.layer_norm(x, weight, bias, 1e-5)
    whole = np.empty_like(flat), np.empty_like(flat[:, 0]), np.empty_like(flat[:, 0])
    reference.layer_norm(flat, weight, bias, 1e-5, *whole)
    np.testing.assert_allclose(found[0].reshape(-1, 67), whole[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found[2], whole[2], rtol=1e-5)
    soft = np.empty_like(flat)
    reference.softmax(flat, soft)
    np.testing.assert_allclose(kernels.softmax(x).reshape(-1, 67), soft, rtol=1e-6)


@pytest.mark.parametrize("length", [1, 127, 128, 129, 300])
def test_each_example_attends_on_its_own(length: int) -> None:
    set_threads(2)
    q, k, v = (normal(name, 3, 2, length, 4, dtype=np.float64) for name in "qkv")
    out, log_total = kernels.attention(q, k, v)
    for i in range(3):
        alone, total = np.empty((2, length, 4)), np.empty((2, length))
        tiles.attention(q[i], k[i], v[i], reference, alone, total)
        np.testing.assert_array_equal(out[i], alone)
        np.testing.assert_array_equal(log_total[i], total)


ELEMENTWISE = {
    "gelu": kernels.gelu,
    "gelu_tanh": kernels.gelu_tanh,
    "gelu_backward": lambda x: kernels.gelu_backward(x, x),
    "gelu_tanh_backward": lambda x: kernels.gelu_tanh_backward(x, x),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (3, 0), (0, 3), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("kernel", ELEMENTWISE)
def test_elementwise_kernels_keep_any_shape(
    kernel: str, shape: tuple[int, ...], dtype: type
) -> None:
    found = ELEMENTWISE[kernel](np.ones(shape, dtype))
    assert found.shape == shape
    assert found.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_norms_and_loss_take_no_rows(dtype: type) -> None:
    empty, weight = np.ones((2, 0, 5), dtype), np.ones(5, dtype)
    assert kernels.softmax(empty).shape == empty.shape
    out, mean, inverse = kernels.layer_norm(empty, weight, weight, 1e-5)
    assert (out.shape, mean.shape, inverse.shape) == (empty.shape, (0,), (0,))
    _, *sums = kernels.layer_norm_backward(empty, empty, mean, inverse, weight)
    np.testing.assert_array_equal(sums, np.zeros((2, 5)))
    out, inverse = kernels.rms_norm(empty, weight, 1e-5)
    assert (out.shape, inverse.shape) == (empty.shape, (0,))
    assert not kernels.rms_norm_backward(empty, empty, inverse, weight)[1].any()
    targets = np.zeros((2, 0), int)
    nats, log_total = kernels.cross_entropy(empty, targets)
    assert nats.shape == log_total.shape == (2, 0)
    one = np.ones((), empty.dtype)
    assert kernels.cross_entropy_backward(one, empty, targets, log_total).shape == empty.shape
