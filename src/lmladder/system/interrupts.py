"""Requests to stop, by Ctrl-C, a scheduler or a lost terminal, that end a program without loss.

A signal that the program inherits as ignored, as SIGHUP under `nohup`, stays ignored.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

# Of Ctrl-C, of a scheduler, and of a terminal that is lost, which not every system has.
SIGNALS = (signal.SIGINT, signal.SIGTERM, *filter(None, [getattr(signal, "SIGHUP", None)]))

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None


@dataclass
class Request:
    """Whether the program was asked to stop; `signal` is the first that came, None so far."""

    signal: int | None = None

    def raise_now(self) -> None:
        """Raise KeyboardInterrupt, with the signal as its argument, if one has come."""
        if self.signal is not None:
            raise KeyboardInterrupt(self.signal)


def raise_interrupts() -> None:
    """From now on a signal raises KeyboardInterrupt, with its number as the argument."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _comes_twice(number):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    _handle(interrupt)


@contextmanager
def deferred() -> Iterator[Request]:
    """Within this context the first signal is only noted; a second one acts at once.

    Outside the main thread, where Python takes no signals, nothing is ever noted.
    """
    request = Request()

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal is None:
            request.signal = number
        elif not _comes_twice(number):
            raise KeyboardInterrupt(number)

    before = _handle(note)
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """What a shell expects of a process that a signal has ended."""
    number = interrupt.args[0] if interrupt.args else signal.SIGINT
    return 128 + int(number)


def _handle(handler: Handler) -> dict[signal.Signals, Handler]:
    """Set the handler of all signals that are not ignored; return the handlers before it."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {each: signal.getsignal(each) for each in SIGNALS}
    heeded = {each: old for each, old in before.items() if old != signal.SIG_IGN}
    for each in heeded:
        signal.signal(each, handler)
    return heeded


def _comes_twice(number: int) -> bool:
    """Whether a signal is sent twice for one reason, as SIGHUP is by the shell and the kernel."""
    return number not in (signal.SIGINT, signal.SIGTERM)
