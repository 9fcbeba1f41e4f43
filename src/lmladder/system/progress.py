"""The progress of long work: a bar on a terminal, a line of text every few seconds elsewhere."""

import sys
import threading
import time
from importlib.util import find_spec
from typing import Any, ClassVar, Self

from lmladder.system.messages import say, shown

SECONDS_PER_LINE = 4.0
BRIEF = 1.0  # seconds of work that gets no line


def _rich_bar(steps: bool) -> Any:
    """Return a bar of rich, which remains at the end if it counts steps."""
    from rich import progress
    from rich.console import Console

    text = [progress.TextColumn("{task.description}"), progress.BarColumn()]
    counted = [progress.MofNCompleteColumn()] if steps else []
    facts = [progress.TextColumn("{task.fields[facts]}"), progress.TimeRemainingColumn()]
    columns = [*text, *counted, *facts]
    return progress.Progress(*columns, console=Console(stderr=True), transient=not steps)


class _Bar:
    """A progress bar, shown within this context on a terminal, if rich is installed.

    Attributes
    ----------
    printed : when the last line of any progress was printed
    """

    printed: ClassVar[float] = time.perf_counter()

    def __init__(self, name: str, total: int, *, first: int, steps: bool):
        self.name = name
        self._bar: Any = None
        if sys.stderr and sys.stderr.isatty() and shown() and find_spec("rich"):
            self._bar = _rich_bar(steps)
            self._task = self._bar.add_task(name, total=total, completed=first, facts="")
        self._started = time.perf_counter()

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def _seconds(self) -> float:
        return max(time.perf_counter() - self._started, 1e-9)

    def _update(self, done: int, facts: str) -> None:
        if self._bar:
            self._bar.update(self._task, completed=done, facts=facts)

    def _line_is_due(self) -> bool:
        """Return whether to print a line: without a bar, some seconds after the last one."""
        now = time.perf_counter()
        waited = now - _Bar.printed >= SECONDS_PER_LINE and self._seconds >= BRIEF
        due = not self._bar and waited
        _Bar.printed = now if due else _Bar.printed
        return due


class CountingProgress(_Bar):
    """The progress of work that is counted, such as characters read or tokens scored.

    Several threads may advance it.

    Parameters
    ----------
    name : of the stage
    unit : what is counted, in the plural
    total : the number at the end
    """

    def __init__(self, name: str, unit: str, total: int):
        super().__init__(name, total, first=0, steps=False)
        self._unit, self._total = f"of {total:,} {unit}", total
        self._done, self._lock = 0, threading.Lock()

    def advance(self, count: int) -> None:
        """Add `count` to the number done."""
        with self._lock:
            self._done += count
            facts = f"{self._done:,} {self._unit}, {self._done / self._seconds:,.0f} a second"
            self._update(self._done, facts)
            if self._done != self._total and self._line_is_due():
                say(f"{self.name}: {facts}")


class TrainingProgress(_Bar):
    """Steps, loss, validation loss, tokens per second and time left of a training run.

    Parameters
    ----------
    name : of the model
    first, last : steps taken at the start, and at the end if training does not stop early
    tokens_per_step : tokens predicted in one step
    """

    def __init__(self, name: str, first: int, last: int, tokens_per_step: int):
        super().__init__(name, last, first=first, steps=True)
        self.first, self.last = first, last
        self.tokens_per_step = tokens_per_step
        self._val = ""

    def step(self, done: int, train_loss: float) -> None:
        """Show that `done` steps are taken; `train_loss` is the loss of the last one."""
        if self._bar or self._line_is_due():
            self._show(done, train_loss)

    def evaluated(self, done: int, train_loss: float, val_loss: float) -> None:
        """Show the validation loss after `done` steps."""
        self._val = f", val {val_loss:.4f}"
        _Bar.printed = time.perf_counter()
        self._show(done, train_loss)

    def _show(self, done: int, train_loss: float) -> None:
        rate = (done - self.first) / self._seconds  # steps a second
        tokens = rate * self.tokens_per_step
        facts = f"train {train_loss:.4f}{self._val} nats, {tokens:,.0f} tokens/s"
        self._update(done, facts)
        if not self._bar and shown():
            left = (self.last - done) / rate
            print(f"{self.name} step {done}/{self.last}: {facts}, {left:.0f} s left", flush=True)
