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
from functools import partial

from lmladder import runtime
from lmladder.arrays import Array

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

    def work(self) -> bool:
        """Do calls until none is left; whether one of them was the last to be done."""
        last = False
        while (index := next(self.claims)) < self.count:
            try:
                if self.error is None:
                    self.task(index)
            except BaseException as error:  # re-raised by the thread that shared the job
                self.error = self.error or error
            if next(self.completions) == self.count:
                last = True
                self.finished.release()
        return last


def _sleep(address: int, old: int) -> None:
    """Do not wait at all: go to sleep at once."""


_wait: Callable[[int, int], None] = _sleep


def wait_with(wait: Callable[[int, int], None]) -> None:
    """Before a thread goes to sleep, call wait(address, old) while the number there is `old`."""
    global _wait
    _wait = wait


class _Pool:
    """The calling thread and `size - 1` helpers, started when first needed."""

    def __init__(self, size: int):
        self.size = size
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.helpers = 0
        self.events = np.zeros(2, np.int64)  # how many jobs have come, and how many are finished
        self.address = self.events.ctypes.data

    def run(self, job: _Job) -> None:
        wanted = min(self.size, job.count) - 1
        while self.helpers < wanted:
            threading.Thread(target=self._help, daemon=True).start()
            self.helpers += 1
        finished = int(self.events[1])
        for _ in range(wanted):
            self.jobs.put(job)
        self.events[0] += 1
        if job.work():
            self.events[1] += 1
        else:
            _wait(self.address + self.events.itemsize, finished)
        job.finished.acquire()
        if job.error is not None:
            raise job.error

    def _help(self) -> None:
        come = int(self.events[0])
        while (job := self.jobs.get()) is not None:
            if job.work():
                self.events[1] += 1
            del job  # and with it the arrays that its task holds
            if self.jobs.empty():
                _wait(self.address, come)
            come = int(self.events[0])

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
    share(*_product(rows, b, out, bias))
    return out.reshape(*a.shape[:-1], b.shape[1])


def linear_backward(grad: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of x @ weight + bias: (..., m), (..., n), (n, m) -> as x, weight and bias.

    The blocks of both products are one job for the threads, which then wait once, not twice.
    """
    grads, rows = as_rows(grad), as_rows(x)
    by_x, by_weight = np.empty_like(rows), np.empty_like(weight)
    by_bias = np.empty(weight.shape[1], weight.dtype)

    def sum_rows() -> None:
        np.add.reduce(grads, axis=0, out=by_bias)

    _share_all([_product(grads, weight.T, by_x), _product(rows.T, grads, by_weight)], sum_rows)
    return by_x.reshape(x.shape), by_weight, by_bias


def _share_all(
    products: Sequence[tuple[Callable[[int], None], int]], other: Callable[[], None]
) -> None:
    """All blocks of some products and another task, shared unless no product is worth cutting."""
    tasks: list[Callable[[], None]] = [
        partial(block, index) for block, count in products for index in range(count)
    ]
    tasks.append(other)
    if len(tasks) > len(products) + 1:
        share(lambda number: tasks[number](), len(tasks))
    else:
        for task in tasks:
            task()


def _product(
    rows: Array, b: Array, out: Array, bias: Array | None = None
) -> tuple[Callable[[int], None], int]:
    """What writes one block of rows @ b (+ bias) to `out`, and how many blocks there are."""
    worth = min(PRODUCT_BLOCKS, max(1, rows.size * b.shape[1] // PRODUCT_WORK))
    wanted = 1 << (worth.bit_length() - 1)  # a power of two, which 2, 4 or 8 threads share evenly
    step = max(PRODUCT_ROWS, -(-len(rows) // wanted))

    def block(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        np.matmul(rows[part], b, out=out[part])
        if bias is not None:
            out[part] += bias

    return block, -(-len(rows) // step) if len(rows) else 0


def over_rows(
    kernel: Callable[..., None],
    rows: Sequence[Array],
    *shared: object,
    out: Sequence[Array],
    sums: Sequence[Array] = (),
) -> None:
    """kernel(*rows, *shared, *out, *sums), a block of rows at a time.

    Parameters
    ----------
    kernel : writes results into the last arrays it is given
    rows, out : arrays of one length, cut alike
    shared : passed whole to each call
    sums : results that are sums over the rows; each block's are written apart, then added up
    """
    n_rows = len(rows[0])
    n_bytes = max([array.nbytes for array in rows])
    step = -(-n_rows // min(ROW_BLOCKS, max(1, n_bytes // BLOCK_BYTES)))
    count = -(-n_rows // step) if n_rows else 0
    if count <= 1:
        kernel(*rows, *shared, *out, *sums)
        return
    partial = [np.empty((count, *each.shape), each.dtype) for each in sums]

    def block(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        kernel(
            *(array[part] for array in rows),
            *shared,
            *(array[part] for array in out),
            *(array[index] for array in partial),
        )

    share(block, count)
    for whole, parts in zip(sums, partial, strict=True):
        np.add.reduce(parts, axis=0, out=whole)
