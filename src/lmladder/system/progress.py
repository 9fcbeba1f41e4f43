"""How long work shows where it stands: a bar on a terminal, a line now and then elsewhere."""

import io
import math
import os
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

SECONDS_A_LINE = 10.0


class _Lossy(io.FileIO):
    """A stream that drops what it cannot write, as when its reader or its terminal is gone."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Let the program go on when nobody reads its standard output or error any more."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before the program began
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(io.FileIO(os.devnull, "w"))))
            continue
        if type(stream) is not io.TextIOWrapper:  # a notebook's or a test's
            continue
        raw = getattr(stream.buffer, "raw", stream.buffer)  # as with PYTHONUNBUFFERED
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


class _Shown:
    """A bar that stands on the terminal while the work goes on, if there is a terminal."""

    def __init__(self, bar: Progress):
        self.bar = bar if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()


class CountingProgress(_Shown):
    """How much of something is done: characters read, tokens scored.

    Work of less than `SECONDS_A_LINE` prints no line.

    Parameters
    ----------
    name : of the stage
    unit : what is counted, in the plural
    total : how much there is; None where nobody knows
    """

    def __init__(self, name: str, unit: str, total: int | None = None):
        super().__init__(_bar(transient=True))
        self.name, self.unit, self.total = name, unit, total
        self.done = 0
        self.started = self.told = time.perf_counter()
        if self.bar:
            self.task = self.bar.add_task(name, total=total, facts="")

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        now = time.perf_counter()
        if self.bar:
            self.bar.update(self.task, completed=self.done, facts=self._facts(now))
        elif now - self.told >= SECONDS_A_LINE:
            self.told = now
            print(f"{self.name}: {self._facts(now)}", flush=True)

    def _facts(self, now: float) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        rate = self.done / max(now - self.started, 1e-9)
        return f"{self.done:,}{of} {self.unit}, {rate:,.0f} a second"


class TrainingProgress(_Shown):
    """Step, loss, validation loss, tokens a second and time left, of one run.

    Parameters
    ----------
    name : of the model
    first, last : the step that training starts from, and the one it ends with at the latest
    tokens_per_step : predicted in one step
    """

    def __init__(self, name: str, first: int, last: int, tokens_per_step: int):
        super().__init__(_bar(MofNCompleteColumn()))
        self.name, self.first, self.last = name, first, last
        self.tokens_per_step = tokens_per_step
        self.started = time.perf_counter()
        self.val_loss: float | None = None
        if self.bar:
            self.task = self.bar.add_task(name, total=last, completed=first, facts="")

    def tokens_per_second(self, done: int) -> float:
        """Predicted since the start, when `done` steps are taken; nan if they were before."""
        taken = done - self.first
        return taken * self.tokens_per_step / self.seconds if taken else math.nan

    @property
    def seconds(self) -> float:
        return max(time.perf_counter() - self.started, 1e-9)

    def step(self, done: int, train_loss: float) -> None:
        """`done` steps are taken; the last one's loss was train_loss."""
        if self.bar:
            self.bar.update(self.task, completed=done, facts=self._facts(done, train_loss))

    def evaluated(self, done: int, train_loss: float, val_loss: float) -> None:
        """After `done` steps the validation rows cost val_loss a token."""
        self.val_loss = val_loss
        if self.bar:
            self.bar.update(self.task, completed=done, facts=self._facts(done, train_loss))
        else:
            taken = done - self.first
            left = self.seconds / taken * (self.last - done)
            facts = self._facts(done, train_loss)
            print(f"{self.name} step {done}/{self.last}: {facts}, {left:.0f} s left", flush=True)

    def _facts(self, done: int, train_loss: float) -> str:
        val = "" if self.val_loss is None else f", val {self.val_loss:.4f}"
        return f"train {train_loss:.4f}{val} nats, {self.tokens_per_second(done):,.0f} tokens/s"


def _bar(*columns: ProgressColumn, transient: bool = False) -> Progress:
    """A bar with these columns behind it, and then facts in words and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=transient,
    )
