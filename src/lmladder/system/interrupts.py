"""Signals that ask a program to stop: Ctrl-C, a scheduler's request, a closed terminal.

A signal that the program inherits as ignored, as SIGHUP under `nohup`, remains ignored.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Request:
    """A request to stop; `signal` is the first signal received, None before."""

    signal: int | None = None

    def raise_now(self) -> None:
        """Raise KeyboardInterrupt, with the signal as its argument, if one was received."""
        if self.signal is not None:
            raise KeyboardInterrupt(self.signal)


def raise_interrupts() -> None:
    """Make signals raise KeyboardInterrupt, with their number as its argument."""
    _handle(Request(0))  # as after a first signal


@contextmanager
def deferred() -> Iterator[Request]:
    """Record the first signal within this context; a second one raises KeyboardInterrupt.

    Outside the main thread, where Python handles no signals, nothing is recorded.
    """
    request = Request()
    previous = _handle(request)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status that a shell expects of a process ended by a signal."""
    number = interrupt.args[0] if interrupt.args else signal.SIGINT
    return 128 + int(number)


def _handle(request: Request) -> dict[signal.Signals, Any]:
    """Let signals that are not ignored make the request; return their previous handlers."""

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # sent twice, by shell and kernel
            signal.signal(number, signal.SIG_IGN)
        if request.signal is not None:
            raise KeyboardInterrupt(number)
        request.signal = number

    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {each: signal.getsignal(each) for each in SIGNALS}
    previous = {each: old for each, old in handlers.items() if old != signal.SIG_IGN}
    for each in previous:
        signal.signal(each, handle)
    return previous
