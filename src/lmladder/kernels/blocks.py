"""Cutting work into blocks of rows and sharing the blocks among threads.

NumPy and the kernels release Python's global lock while they compute, so threads use all cores.
Block boundaries depend on shapes only, never on the number of threads, so the bits of every result
are the same for any number of threads.
"""

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from lmladder.system import runtime
from lmladder.system.arrays import Array
from lmladder.tracing import run

import numpy as np

# Below these sizes a block costs more to hand to a thread than it saves.
BLOCK_BYTES = 1 << 17  # minimum size of one operand of a block of rows
ROW_BLOCKS = 16  # maximum number of blocks of rows
PRODUCT_ROWS = 64  # minimum number of rows in a block of a matrix product
PRODUCT_WORK = 1 << 21  # minimum number of multiply-adds in a block of a matrix product
PRODUCT_BLOCKS = 8  # maximum number of blocks of a matrix product


class _ThreadState(threading.local):
    """The state of one thread.

    Attributes
    ----------
    is_helper : whether the thread belongs to a pool, and so calls `parallel_for` as a plain loop
    no_partitioning : whether the thread is inside the context of that name
    """

    is_helper = False
    no_partitioning = False


_thread = _ThreadState()


@contextmanager
def no_partitioning() -> Iterator[None]:
    """Cut nothing into blocks in this context, for a thread that shares its work with no other."""
    before, _thread.no_partitioning = _thread.no_partitioning, True
    try:
        yield
    finally:
        _thread.no_partitioning = before


_threads = 1
_pool: ThreadPoolExecutor  # of all threads but the one that calls `parallel_for`


def set_threads(count: int | None) -> None:
    """Use `count` threads, or one per core if None. This changes the speed, never the results."""
    global _threads, _pool
    _threads = count or runtime.available_cores()
    _pool = ThreadPoolExecutor(max(1, _threads - 1), initializer=_become_helper)


def threads() -> int:
    """Return the number of threads in use."""
    return _threads


def _become_helper() -> None:
    _thread.is_helper = True


set_threads(None)
runtime.limit_blas_threads()
if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=lambda: set_threads(_threads))


def parallel_for(task: Callable[[int], object], count: int) -> None:
    """Call task(0) ... task(count - 1), shared among the threads; return when all have returned.

    In a task of a helper thread this is a plain loop, because all threads have work. Ctrl-C ends
    the job: no call is running in any thread when KeyboardInterrupt is raised here.
    """
    if count <= 1 or _threads == 1 or _thread.is_helper:
        for index in range(count):
            task(index)
        return
    claims = itertools.count()  # next() is atomic under the global lock
    entered: list[None] = []  # one entry for each helper that started to work
    left: list[None] = []  # one entry for each helper that finished

    def work() -> None:
        while (index := next(claims)) < count:
            task(index)

    def stop() -> None:
        while next(claims) < count:
            pass

    def help_with_work() -> None:
        entered.append(None)
        try:
            work()
        finally:
            stop()
            left.append(None)

    def finish(helper: Future[None]) -> None:  # Python 3.14 leaves a branch out of a `try`
        if not helper.cancel():  # it has started
            helper.result()

    try:
        helpers = [_pool.submit(help_with_work) for _ in range(min(_threads, count) - 1)]
        work()
        for helper in helpers:
            finish(helper)
    except BaseException:
        stop()
        while len(left) < len(entered):
            time.sleep(1e-4)
        raise


def sum_into(vectors: Sequence[Array]) -> None:
    """Add all other vectors to the first one, in order, block by block."""
    first, *others = vectors
    apply_to_row_blocks(_add_all, others, out=[first], step=BLOCK_BYTES // first.itemsize)


def _add_all(*vectors: Array) -> None:
    *others, total = vectors
    for other in others:
        total += other


def empty(like: Array, shape: int | tuple[int, ...]) -> Array:
    """Return an uninitialized array of the dtype of `like`; it is traced if `like` is."""
    return np.empty_like(like, order="C", shape=shape)


def contiguous(array: Array) -> Array:
    """Return np.ascontiguousarray(array), for arrays that may be traced."""
    return array if array.flags.c_contiguous else array.copy()


def as_rows(array: Array) -> Array:
    """Reshape (..., n) to (rows, n), as a view if the layout allows; a 0-d array to (1, 1)."""
    if array.ndim == 2:
        return array
    *leading, last = array.shape or (1,)
    return array.reshape(math.prod(leading), last)


# A function such as `reference.multiply`.
Multiply: TypeAlias = Callable[[Array, Array, Array, Array | None], None]


def matmul(multiply: Multiply, a: Array, b: Array, bias: Array | None = None) -> Array:
    """Return a @ b (+ bias), computed in blocks of rows; see `kernels.matmul`."""
    fits = b.ndim > 1 and a.ndim > (b.ndim > 2) and a.shape[-1] == b.shape[-2]
    if not (fits and (bias is None or bias.shape == b.shape[-1:])):
        added = "" if bias is None else f" and {bias.shape}"
        raise ValueError(
            f"matmul expects (..., n, k), (..., k, m) and (m,), got {a.shape}, {b.shape}{added}"
        )
    bias = None if bias is None else contiguous(bias)
    if b.ndim != 2:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = empty(a, (*lead, a.shape[-2], b.shape[-1]))
        run(multiply, a, b, out, bias)
        return out
    rows = as_rows(a)
    out = empty(rows, (len(rows), b.shape[1]))
    _multiply(multiply, [(rows, b, out, bias)])
    return out.reshape(*a.shape[:-1], b.shape[1])


def linear_backward(
    multiply: Multiply, grad: Array, x: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of x @ weight + bias with respect to x, weight and bias.

    The arrays have the shapes (..., m), (..., n) and (n, m).
    """
    grads, rows = as_rows(grad), as_rows(x)
    grad_x, grad_weight = np.empty_like(rows), np.empty_like(weight)
    grad_bias = empty(weight, weight.shape[1])
    products = [(grads, weight.T, grad_x, None), (rows.T, grads, grad_weight, None)]
    _multiply(multiply, products, grads, 0, None, grad_bias)
    return grad_x.reshape(x.shape), grad_weight, grad_bias


# a, b, out and bias of out = a @ b + bias
Product: TypeAlias = tuple[Array, Array, Array, Array | None]


def _multiply(multiply: Multiply, products: Sequence[Product], *sum_of: Any) -> None:
    """Compute the products, and np.add.reduce(*sum_of) if given, as one job for the threads."""
    if any(_rows_per_block(a, b) < len(a) for a, b, _, _ in products):
        run(_multiply_in_blocks, multiply, products, sum_of)
        return
    for product in products:
        run(multiply, *product)
    if sum_of:
        run(np.add.reduce, *sum_of)


def _multiply_in_blocks(
    multiply: Multiply, products: Sequence[Product], sum_of: Sequence[Any]
) -> None:
    tasks: list[Callable[[], object]] = []
    for a, b, out, bias in products:
        step = _rows_per_block(a, b)
        for start in range(0, len(a), step):
            part = slice(start, start + step)
            tasks.append(partial(multiply, a[part], b, out[part], bias))
    if sum_of:
        tasks.append(partial(np.add.reduce, *sum_of))
    parallel_for(lambda number: tasks[number](), len(tasks))


def _rows_per_block(a: Array, b: Array) -> int:
    """Return the number of rows of `a` in each block of a @ b."""
    if _thread.no_partitioning:
        return max(1, len(a))
    blocks = min(PRODUCT_BLOCKS, max(1, a.size * b.shape[1] // PRODUCT_WORK))
    even = 1 << (blocks.bit_length() - 1)  # a power of two, which 2, 4 or 8 threads share evenly
    return max(PRODUCT_ROWS, -(-len(a) // even))


def apply_to_row_blocks(kernel, rows, *shared, out, sums=(), step=None):
    """Call kernel(*rows, *shared, *out, *sums) for each block of rows.

    If the first array of rows is empty, the kernel is not called and all results are 0.

    Parameters
    ----------
    kernel : function that writes its results into its last arguments
    rows, out : arrays of one length, of which each call gets the same slice
    shared : arguments passed to each call unchanged
    sums : results that are sums over the rows; each block writes its own, which are then added
    step : number of rows of a block; by default it depends on the size of the rows
    """
    n_rows = len(rows[0])
    if not rows[0].size:
        for result in (*out, *sums):
            result[...] = 0
        return
    if step is None:
        worth = max(1, max([array.nbytes for array in rows]) // BLOCK_BYTES)
        step = -(-n_rows // min(1 if _thread.no_partitioning else ROW_BLOCKS, worth))
    count = -(-n_rows // step)
    if count == 1:
        run(kernel, *rows, *shared, *out, *sums)
        return
    parts = [empty(each, (count, *each.shape)) for each in sums]
    run(_over_blocks, kernel, step, count, rows, shared, out, parts)
    for whole, each in zip(sums, parts, strict=True):
        np.add.reduce(each, out=whole)


def _over_blocks(kernel: Callable[..., None], step: int, count: int, *arguments: Any) -> None:
    """Run `apply_to_row_blocks` in blocks; each writes its sums into an item of `parts`."""
    rows, shared, out, parts = arguments

    def block(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        kernel(
            *(array[part] for array in rows),
            *shared,
            *(array[part] for array in out),
            *(array[index] for array in parts),
        )

    parallel_for(block, count)
