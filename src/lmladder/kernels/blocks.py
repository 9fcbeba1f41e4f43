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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from lmladder import runtime
from lmladder.arrays import Array
from lmladder.kernels import tape

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
        _thread.is_at_work = True
        while (index := next(self.claims)) < self.count:
            try:
                if self.error is None:
                    self.task(index)
            except BaseException as error:  # re-raised by the thread that shared the job
                self.error = self.error or error
            if next(self.completions) == self.count:
                last = True
                self.finished.release()
        _thread.is_at_work = False
        return last


# is_at_work: within a task, whose own jobs are not shared further; undivided: see there
_thread = threading.local()


@contextmanager
def undivided() -> Iterator[None]:
    """Within this context this thread cuts nothing into blocks: it does all by itself anyway."""
    before = getattr(_thread, "undivided", False)
    _thread.undivided = True
    try:
        yield
    finally:
        _thread.undivided = before


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
    """Call task(0) ... task(count - 1), shared among the threads; return when all are done.

    Within such a task this is a plain loop: the threads have work already.
    """
    if count == 1 or _pool.size == 1 or getattr(_thread, "is_at_work", False):
        for index in range(count):
            task(index)
    elif count > 1:
        _pool.run(_Job(task, count))


def add_up(vectors: Sequence[Array]) -> None:
    """Add all other vectors to the first, in order; each at a block before the next block."""
    first, *others = vectors
    step = BLOCK_BYTES // first.itemsize

    def block(index: int) -> None:
        part = slice(index * step, (index + 1) * step)
        total = first[part]
        for other in others:
            total += other[part]

    share(block, -(-len(first) // step))


def as_rows(array: Array) -> Array:
    """(..., n) -> (rows, n), without a copy where memory allows; a number becomes a row of one."""
    if array.ndim == 2:
        return array
    if array.ndim == 0:
        return array.reshape(1, 1)
    return tape.reshape(array, (math.prod(array.shape[:-1]), array.shape[-1]))


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """a @ b (+ bias), in blocks of rows, each a product by single-threaded BLAS.

    Parameters
    ----------
    a : (..., n, k)
    b : (k, m), or (..., k, m), broadcast against a's leading axes like NumPy
    bias : (m,), added to each row of the result
    """
    if b.ndim != 2 or a.ndim < 2:
        product = tape.apply(np.matmul, a, b)
        return product if bias is None else tape.apply(np.add, product, bias)
    rows = as_rows(a)
    out = tape.empty((len(rows), b.shape[1]), np.result_type(a, b))
    if _blocks_of_product(rows, b)[1] > 1:
        tape.run(_share_product, rows, b, out, bias)
    else:
        tape.run(np.matmul, rows, b, out)
        if bias is not None:
            tape.run(np.add, out, bias, out)
    return tape.reshape(out, (*a.shape[:-1], b.shape[1]))


def linear_backward(grad: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of x @ weight + bias: (..., m), (..., n), (n, m) -> as x, weight and bias."""
    grads, rows = as_rows(grad), as_rows(x)
    by_x, by_weight = tape.empty_like(rows), tape.empty_like(weight)
    by_bias = tape.empty(weight.shape[1], weight.dtype)
    _run_backward([(grads, weight.T, by_x), (rows.T, grads, by_weight)], grads, by_bias)
    return tape.reshape(by_x, x.shape), by_weight, by_bias


def _run_backward(
    products: Sequence[tuple[Array, Array, Array]], rows: Array, total: Array
) -> None:
    """Products a @ b into out, and the sum over rows; one job for the threads, who wait once."""
    if any(_blocks_of_product(a, b)[1] > 1 for a, b, _ in products):
        tape.run(_share_backward, products, rows, total)
        return
    for product in products:
        tape.run(np.matmul, *product)
    tape.run(np.add.reduce, rows, 0, None, total)


def _share_backward(
    products: Sequence[tuple[Array, Array, Array]], rows: Array, total: Array
) -> None:
    tasks = [
        partial(block, index)
        for product in products
        for block, count in [_product(*product)]
        for index in range(count)
    ]
    tasks.append(partial(np.add.reduce, rows, 0, None, total))
    share(lambda number: tasks[number](), len(tasks))


def _share_product(rows: Array, b: Array, out: Array, bias: Array | None) -> None:
    share(*_product(rows, b, out, bias))


def _product(
    rows: Array, b: Array, out: Array, bias: Array | None = None
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
    if getattr(_thread, "undivided", False):
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
    most = 1 if getattr(_thread, "undivided", False) else ROW_BLOCKS
    step = -(-n_rows // min(most, max(1, n_bytes // BLOCK_BYTES)))
    count = -(-n_rows // step) if n_rows else 0
    if count <= 1:
        tape.run(kernel, *rows, *shared, *out, *sums)
        return
    parts = [tape.empty((count, *each.shape), each.dtype) for each in sums]
    tape.run(_share_rows, kernel, step, count, rows, shared, out, parts)
    for whole, each in zip(sums, parts, strict=True):
        tape.run(np.add.reduce, each, 0, None, whole)


def _share_rows(
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

    share(block, count)
