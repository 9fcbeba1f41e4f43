"""Being asked to stop, by Ctrl-C or by a scheduler, only where nothing is lost by it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Request:
    """Whether somebody has asked to stop; `signal` is the one that came, None so far."""

    signal: int | None = None

    def raise_now(self) -> None:
        """KeyboardInterrupt, with the signal as its argument, if one has come."""
        if self.signal is not None:
            raise KeyboardInterrupt(self.signal)


@contextmanager
def deferred() -> Iterator[Request]:
    """Within this context the first signal is only noted; a second one acts at once.

    Outside the main thread, where Python takes no signals, nothing is ever noted.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal is not None:
            raise KeyboardInterrupt(number)
        request.signal = number

    for each in SIGNALS:
        signal.signal(each, note)
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """What a shell expects of a process that a signal has ended."""
    number = interrupt.args[0] if interrupt.args else signal.SIGINT
    return 128 + int(number)
