"""Cutting work into blocks of rows and sharing the blocks among threads.

NumPy and BLAS let go of Python's global lock while they compute, so plain threads use all cores.
Where a block begins and ends depends on shapes alone, never on the number of threads, and so the
bits of every result are the same for any number of them.
"""

import itertools
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from lmladder.system import runtime
from lmladder.system.arrays import Array
from lmladder.tracing import run

import numpy as np

# Of a block of rows: bytes of one operand, so that handing it to a thread pays; and how many there
# are at most.
BLOCK_BYTES = 1 << 17
ROW_BLOCKS = 16
# Of a block of a matrix product: rows, so that packing the other factor pays, and multiply-adds, so
# that handing it to a thread does; and how many blocks there are at most.
PRODUCT_ROWS = 64
PRODUCT_WORK = 1 << 21
PRODUCT_BLOCKS = 8


class _Job:
    """`count` calls of `task`, claimed one by one by whichever thread is free."""

    def __init__(self, task: Callable[[int], None], count: int):
        self.task = task
        self.count = count
        self.claims = itertools.count()  # next() is atomic under the global lock
        self.completions = itertools.count(1)
        self.finished = threading.Lock()  # held until all calls are done; a semaphore is slower
        self.finished.acquire()
        self.error: BaseException | None = None
        self.entered: list[None] = []  # one entry for each helper that began to work, and ended
        self.left: list[None] = []

    def work(self) -> None:
        """Do calls until none is left."""
        while (index := next(self.claims)) < self.count:
            try:
                if self.error is None:
                    self.task(index)
            except BaseException as error:  # re-raised by the thread that shared the job
                self.error = self.error or error
            if next(self.completions) == self.count:
                self.finished.release()

    def cancel(self) -> None:
        """Start no further calls; return when no helper is within one."""
        while next(self.claims) < self.count:
            pass
        while len(self.left) < len(self.entered):
            time.sleep(1e-4)


# is_helper: this thread is one of a pool and runs its tasks undivided; no_partitioning: see there
_thread = threading.local()


@contextmanager
def no_partitioning() -> Iterator[None]:
    """Within this context this thread cuts nothing into blocks: it does all by itself anyway."""
    before = getattr(_thread, "no_partitioning", False)
    _thread.no_partitioning = True
    try:
        yield
    finally:
        _thread.no_partitioning = before


class _Pool:
    """The calling thread and `size - 1` helpers, started when first needed."""

    def __init__(self, size: int):
        self.size = size
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.helpers: list[threading.Thread] = []
        self.starting = threading.Lock()

    def run(self, job: _Job) -> None:
        wanted = min(self.size, job.count) - 1
        if len(self.helpers) < wanted:
            self._start(wanted)
        try:
            for _ in range(wanted):
                self.jobs.put(job)
            job.work()
            job.finished.acquire()
        except BaseException:  # Ctrl-C between two calls; one within a call becomes job.error
            job.cancel()
            raise
        if job.error is not None:
            try:
                raise job.error
            finally:
                job.error = None  # whose traceback holds this frame, and so the job

    def _start(self, wanted: int) -> None:
        with self.starting:
            while len(self.helpers) < wanted:
                helper = threading.Thread(target=self._help, daemon=True)
                helper.start()
                self.helpers.append(helper)

    def _help(self) -> None:
        _thread.is_helper = True
        while (job := self.jobs.get()) is not None:
            job.entered.append(None)
            job.work()
            job.left.append(None)
            del job  # and with it the arrays that its task holds

    def close(self) -> None:
        for _ in self.helpers:
            self.jobs.put(None)


_pool = _Pool(runtime.available_cores())
runtime.limit_blas_threads()


def set_threads(count: int | None) -> None:
    """Use `count` threads from now on; None for one a core. Changes speed, never results."""
    global _pool
    if count is not None and count < 1:
        raise ValueError(f"threads must be at least 1, not {count}")
    _pool.close()
    _pool = _Pool(count or runtime.available_cores())


def _forget_pool() -> None:
    """A child made by fork has the parent's pool but none of its threads."""
    global _pool
    _pool = _Pool(_pool.size)


def threads() -> int:
    """The number of threads that share blocks."""
    return _pool.size


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def parallel_for(task: Callable[[int], None], count: int) -> None:
    """Call task(0) ... task(count - 1), shared among the threads; return when all are done.

    Within a task of a helper this is a plain loop: the threads have work already. Ctrl-C ends the
    job: no call is under way in any thread when the KeyboardInterrupt is raised here.
    """
    if count == 1 or _pool.size == 1 or getattr(_thread, "is_helper", False):
        for index in range(count):
            task(index)
    elif count > 1:
        _pool.run(_Job(task, count))


def sum_into(vectors: Sequence[Array]) -> None:
    """Add all other vectors to the first, in order; each at a block before the next block."""
    first, *others = vectors
    step = BLOCK_BYTES // first.itemsize

    def block(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        total = first[part]
        for other in others:
            total += other[part]

    parallel_for(block, -(-len(first) // step))


def empty(like: Array, shape: int | tuple[int, ...]) -> Array:
    """np.empty of the type of `like`, which a trace follows if it follows `like`."""
    return np.empty_like(like, order="C", shape=shape)


def contiguous(array: Array) -> Array:
    """np.ascontiguousarray, of an array that a trace may follow."""
    return array if array.flags.c_contiguous else array.copy()


def as_rows(array: Array) -> Array:
    """(..., n) -> (rows, n), without a copy where memory allows; a number becomes a row of one."""
    if array.ndim == 2:
        return array
    if array.ndim == 0:
        return array.reshape(1, 1)
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """a @ b (+ bias), in blocks of rows, each a product by single-threaded BLAS.

    Parameters
    ----------
    a : (..., n, k)
    b : (k, m), or (..., k, m), broadcast against a's leading axes like NumPy
    bias : (m,), added to each row of the result
    """
    if b.ndim != 2 or a.ndim < 2:
        product = np.matmul(a, b)
        return product if bias is None else product + bias
    rows = as_rows(a)
    out = empty(rows, (len(rows), b.shape[1]))
    _multiply([(rows, b, out, bias)])
    return out.reshape(*a.shape[:-1], b.shape[1])


def linear_backward(grad: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of x @ weight + bias: (..., m), (..., n), (n, m) -> as x, weight and bias."""
    grads, rows = as_rows(grad), as_rows(x)
    by_x, by_weight = np.empty_like(rows), np.empty_like(weight)
    by_bias = empty(weight, weight.shape[1])
    products = [(grads, weight.T, by_x, None), (rows.T, grads, by_weight, None)]
    _multiply(products, grads, 0, None, by_bias)
    return by_x.reshape(x.shape), by_weight, by_bias


# a, b, out and bias of out = a @ b + bias
Product: TypeAlias = tuple[Array, Array, Array, Array | None]


def _multiply(products: Sequence[Product], *sum_of: Any) -> None:
    """Write the products and np.add.reduce(*sum_of), if any: one job for the threads."""
    if any(_blocks_of_product(a, b)[1] > 1 for a, b, _, _ in products):
        run(_share_products, products, sum_of)
        return
    for a, b, out, bias in products:
        np.matmul(a, b, out=out)
        if bias is not None:
            out += bias
    if sum_of:
        run(np.add.reduce, *sum_of)


def _share_products(products: Sequence[Product], sum_of: Sequence[Any]) -> None:
    tasks = [
        partial(block, index)
        for product in products
        for block, count in [_product(*product)]
        for index in range(count)
    ]
    if sum_of:
        tasks.append(partial(np.add.reduce, *sum_of))
    parallel_for(lambda number: tasks[number](), len(tasks))


def _product(
    rows: Array, b: Array, out: Array, bias: Array | None
) -> tuple[Callable[[int], None], int]:
    """What writes one block of rows @ b (+ bias) to `out`, and how many blocks there are."""
    step, count = _blocks_of_product(rows, b)

    def block(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        np.matmul(rows[part], b, out=out[part])
        if bias is not None:
            out[part] += bias

    return block, count


def _blocks_of_product(rows: Array, b: Array) -> tuple[int, int]:
    """How many rows a block of rows @ b has, and how many blocks there are."""
    if getattr(_thread, "no_partitioning", False):
        return len(rows), min(1, len(rows))
    worth = min(PRODUCT_BLOCKS, max(1, rows.size * b.shape[1] // PRODUCT_WORK))
    wanted = 1 << (worth.bit_length() - 1)  # a power of two, which 2, 4 or 8 threads share evenly
    step = max(PRODUCT_ROWS, -(-len(rows) // wanted))
    return step, -(-len(rows) // step)


def over_rows(
    kernel: Callable[..., None],
    rows: Sequence[Array],
    *shared: object,
    out: Sequence[Array],
    sums: Sequence[Array] = (),
    step: int | None = None,
) -> None:
    """kernel(*rows, *shared, *out, *sums), a block of rows at a time.

    Parameters
    ----------
    kernel : writes results into the last arrays it is given
    rows, out : arrays of one length, cut alike
    shared : passed whole to each call
    sums : results that are sums over the rows; each block's are written apart, then added up
    step : how many rows a block has, if that does not depend on their size

    Where the first rows have no elements there is nothing to compute, and all results are 0.
    """
    n_rows = len(rows[0])
    if not rows[0].size:
        for result in (*out, *sums):
            result[...] = 0
        return
    if step is None:
        n_bytes = max([array.nbytes for array in rows])
        most = 1 if getattr(_thread, "no_partitioning", False) else ROW_BLOCKS
        step = -(-n_rows // min(most, max(1, n_bytes // BLOCK_BYTES)))
    count = -(-n_rows // step)
    if count == 1:
        run(kernel, *rows, *shared, *out, *sums)
        return
    parts = [empty(each, (count, *each.shape)) for each in sums]
    run(_over_blocks, kernel, step, count, rows, shared, out, parts)
    for whole, each in zip(sums, parts, strict=True):
        np.add.reduce(each, out=whole)


def _over_blocks(
    kernel: Callable[..., None],
    step: int,
    count: int,
    rows: Sequence[Array],
    shared: Sequence[object],
    out: Sequence[Array],
    parts: Sequence[Array],
) -> None:
    """`over_rows` in `count` blocks of `step` rows; `parts` take each block's sums."""

    def block(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        kernel(
            *(array[part] for array in rows),
            *shared,
            *(array[part] for array in out),
            *(array[index] for array in parts),
        )

    parallel_for(block, count)
