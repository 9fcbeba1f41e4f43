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
from collections.abc import Callable, Sequence

from lmladder import runtime
from lmladder.arrays import Array

import numpy as np

BLOCK_BYTES = 1 << 18  # of one operand: small enough for L2, large enough to pay for the lock
# Of a block of a matrix product: rows, so that packing the other factor pays, and multiply-adds, so
# that handing it to a thread does; and how many blocks there are at most.
PRODUCT_ROWS = 64
PRODUCT_WORK = 1 << 22
PRODUCT_BLOCKS = 8


class _Job:
    """`count` calls of `task`, claimed one by one by whichever thread is free."""

    def __init__(self, task: Callable[[int], None], count: int):
        self.task = task
        self.count = count
        self.claims = itertools.count()  # next() is atomic under the global lock
        self.completions = itertools.count(1)
        self.finished = threading.Semaphore(0)
        self.error: BaseException | None = None

    def work(self) -> None:
        while (index := next(self.claims)) < self.count:
            try:
                if self.error is None:
                    self.task(index)
            except BaseException as error:  # re-raised by the thread that shared the job
                self.error = self.error or error
            if next(self.completions) == self.count:
                self.finished.release()


class _Pool:
    """The calling thread and `size - 1` helpers, started when first needed."""

    def __init__(self, size: int):
        self.size = size
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.helpers = 0

    def run(self, job: _Job) -> None:
        wanted = min(self.size, job.count) - 1
        while self.helpers < wanted:
            threading.Thread(target=self._help, daemon=True).start()
            self.helpers += 1
        for _ in range(wanted):
            self.jobs.put(job)
        job.work()
        job.finished.acquire()
        if job.error is not None:
            raise job.error

    def _help(self) -> None:
        while (job := self.jobs.get()) is not None:
            job.work()
            del job  # and with it the arrays that its task holds

    def close(self) -> None:
        for _ in range(self.helpers):
            self.jobs.put(None)


_pool = _Pool(runtime.available_cores())


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


def share(task: Callable[[int], None], count: int) -> None:
    """Call task(0) ... task(count - 1), shared among the threads; return when all are done."""
    if count == 1 or _pool.size == 1:
        for index in range(count):
            task(index)
    elif count > 1:
        _pool.run(_Job(task, count))


def as_rows(array: Array) -> Array:
    """(..., n) -> (rows, n), without a copy where memory allows; a number becomes a row of one."""
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
    out = np.empty((len(rows), b.shape[1]), np.result_type(a, b))
    wanted = min(PRODUCT_BLOCKS, max(1, rows.size * b.shape[1] // PRODUCT_WORK))
    step = max(PRODUCT_ROWS, -(-len(rows) // wanted))

    def block(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        np.matmul(rows[part], b, out=out[part])
        if bias is not None:
            out[part] += bias

    share(block, -(-len(rows) // step) if len(rows) else 0)
    return out.reshape(*a.shape[:-1], b.shape[1])


def over_rows(
    kernel: Callable[..., tuple[Array, ...]], rows: Sequence[Array], *shared: object, sums: int = 0
) -> tuple[Array, ...]:
    """kernel(*rows, *shared), a block of rows at a time.

    Parameters
    ----------
    kernel : returns a tuple of arrays; each has a row for each row it was given, except the last
        `sums` ones, which are sums over its rows
    rows : arrays of one length, cut alike; at least one row
    shared : passed whole to each call
    """
    n_rows = len(rows[0])
    step = max(1, BLOCK_BYTES * n_rows // max(1, rows[0].nbytes))
    count = -(-n_rows // step)
    if count <= 1:
        return kernel(*rows, *shared)
    first = kernel(*(array[:step] for array in rows), *shared)
    n_kept = len(first) - sums
    kept = tuple(np.empty((n_rows, *part.shape[1:]), part.dtype) for part in first[:n_kept])
    partial = [np.empty((count, *part.shape), part.dtype) for part in first[n_kept:]]

    def store(index: int, result: tuple[Array, ...]) -> None:
        for whole, part in zip(kept, result, strict=False):
            whole[index * step : (index + 1) * step] = part
        for whole, part in zip(partial, result[n_kept:], strict=True):
            whole[index] = part

    def block(before: int) -> None:
        index = before + 1
        part = slice(index * step, (index + 1) * step)
        store(index, kernel(*(array[part] for array in rows), *shared))

    store(0, first)
    share(block, count - 1)
    return *kept, *(whole.sum(axis=0) for whole in partial)
