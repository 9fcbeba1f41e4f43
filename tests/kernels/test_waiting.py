"""Waiting for another thread: it ends when the number changes, or after a while."""

import threading
import time

from lmladder.kernels.waiting import wait_for_change

import numpy as np


def test_a_number_that_has_changed_is_not_waited_for() -> None:
    event = np.ones(1, np.int64)
    started = time.perf_counter()
    for _ in range(1000):
        wait_for_change(event.ctypes.data, 0)
    patient = time.perf_counter() - started
    for _ in range(1000):
        wait_for_change(event.ctypes.data, 1)
    assert time.perf_counter() - started > 2 * patient  # it does look several times, then ends


def test_other_threads_go_on_while_one_waits() -> None:
    event = np.zeros(1, np.int64)
    changed = threading.Event()

    def change() -> None:
        event[0] = 1
        changed.set()

    threading.Thread(target=change).start()
    while event[0] == 0:
        wait_for_change(event.ctypes.data, 0)
    assert changed.wait(10)
