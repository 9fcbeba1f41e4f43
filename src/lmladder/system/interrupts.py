"""Signals that ask a program to stop: Ctrl-C, a scheduler's request, a closed terminal.

A signal that the program inherits as ignored, as SIGHUP under `nohup`, remains ignored.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None


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

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # sent twice, by shell and kernel
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    _handle(interrupt)


@contextmanager
def deferred() -> Iterator[Request]:
    """Record the first signal within this context; a second one raises KeyboardInterrupt.

    Outside the main thread, where Python handles no signals, nothing is recorded.
    """
    request = Request()

    def record(number: int, frame: FrameType | None) -> None:
        if request.signal is None:
            request.signal = number
        elif number != signal.SIGHUP:  # sent twice, by shell and kernel
            raise KeyboardInterrupt(number)

    previous = _handle(record)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status that a shell expects of a process ended by a signal."""
    number = interrupt.args[0] if interrupt.args else signal.SIGINT
    return 128 + int(number)


def _handle(handler: Handler) -> dict[signal.Signals, Handler]:
    """Set the handler of all signals that are not ignored; return their previous handlers."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {each: signal.getsignal(each) for each in SIGNALS}
    previous = {each: old for each, old in handlers.items() if old != signal.SIG_IGN}
    for each in previous:
        signal.signal(each, handler)
    return previous
