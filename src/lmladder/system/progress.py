"""The progress of long work: a bar on a terminal, lines of text at intervals elsewhere."""

import io
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Self, TypeVar

from lmladder.system.messages import say, shown

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

SECONDS_PER_LINE = 10.0
V = TypeVar("V")


class _Lossy(io.FileIO):
    """A stream that drops what it cannot write, for example to a closed pipe or terminal."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def ignore_closed_outputs() -> None:
    """Let the program continue when its standard output or error is no longer read."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before the program began
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        if type(stream) is not io.TextIOWrapper:  # that of a notebook or a test
            continue
        raw = getattr(stream.buffer, "raw", stream.buffer)  # unbuffered with PYTHONUNBUFFERED
        if type(raw) is not io.FileIO:
            continue
        with suppress(OSError):
            stream.flush()
        lossy = io.TextIOWrapper(
            io.BufferedWriter(_Lossy(raw.fileno(), "w", closefd=False)),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, lossy)


class _Bar:
    """A progress bar, shown within this context if the standard error is a terminal."""

    def __init__(
        self, name: str, total: int | None, *columns: ProgressColumn, first: int, transient: bool
    ):
        self.name = name
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=transient,
            disable=not (sys.stderr.isatty() and shown()),
        )
        self._task = self._bar.add_task(name, total=total, completed=first, facts="")
        self._started = time.perf_counter()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    @property
    def _seconds(self) -> float:
        return max(time.perf_counter() - self._started, 1e-9)

    def _update(self, done: int, facts: str) -> None:
        self._bar.update(self._task, completed=done, facts=facts)


class CountingProgress(_Bar):
    """The progress of work that is counted, such as characters read or tokens scored.

    Work of less than `SECONDS_PER_LINE` prints no line.

    Parameters
    ----------
    name : of the stage
    unit : what is counted, in the plural
    total : the number at the end; None: unknown
    """

    def __init__(self, name: str, unit: str, total: int | None = None):
        super().__init__(name, total, first=0, transient=True)
        self._unit = unit if total is None else f"of {total:,} {unit}"
        self._done = 0
        self._printed = self._started

    def advance(self, count: int) -> None:
        """Add `count` to the number done."""
        self._done += count
        rate = self._done / self._seconds
        facts = f"{self._done:,} {self._unit}, {rate:,.0f} a second"
        self._update(self._done, facts)
        now = time.perf_counter()
        if self._bar.disable and now - self._printed >= SECONDS_PER_LINE:
            self._printed = now
            say(f"{self.name}: {facts}")


def track(name: str, items: Mapping[str, V]) -> Iterator[tuple[str, V]]:
    """Yield the items of a mapping, and show how many are done."""
    with CountingProgress(name, "figures", len(items)) as progress:
        for each in items.items():
            yield each
            progress.advance(1)


class TrainingProgress(_Bar):
    """Steps, loss, validation loss, tokens per second and time left of a training run.

    Parameters
    ----------
    name : of the model
    first, last : steps taken at the start, and at the end if training does not stop early
    tokens_per_step : tokens predicted in one step
    """

    def __init__(self, name: str, first: int, last: int, tokens_per_step: int):
        super().__init__(name, last, MofNCompleteColumn(), first=first, transient=False)
        self.first, self.last = first, last
        self.tokens_per_step = tokens_per_step
        self._val = ""

    def tokens_per_second(self, done: int) -> float:
        """Return the mean rate of training until step `done`; nan before the first step."""
        taken = done - self.first
        return taken * self.tokens_per_step / self._seconds if taken else math.nan

    def step(self, done: int, train_loss: float) -> None:
        """Show that `done` steps are taken; `train_loss` is the loss of the last one."""
        if not self._bar.disable:  # a step of a small model takes less time than the facts
            self._update(done, self._facts(done, train_loss))

    def evaluated(self, done: int, train_loss: float, val_loss: float) -> None:
        """Show the validation loss after `done` steps."""
        self._val = f", val {val_loss:.4f}"
        facts = self._facts(done, train_loss)
        self._update(done, facts)
        if self._bar.disable and shown():
            left = self._seconds / (done - self.first) * (self.last - done)
            print(f"{self.name} step {done}/{self.last}: {facts}, {left:.0f} s left", flush=True)

    def _facts(self, done: int, train_loss: float) -> str:
        rate = self.tokens_per_second(done)
        return f"train {train_loss:.4f}{self._val} nats, {rate:,.0f} tokens/s"
