"""What all benchmarks share: fresh processes, seconds, memory, growth, and how results are shown.

A result is a flat dict. A benchmark prints each as a line of JSON, or all as a Markdown table.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

Facts: TypeAlias = dict[str, Any]
Result = TypeVar("Result")

FOLDER = Path(__file__).resolve().parent
UNAVAILABLE = 2  # the exit status where something to be measured is not installed


class UnavailableError(Exception):
    """What was to be measured cannot run here; the message is the reason, in one line."""


def run(main: Callable[[], None]) -> None:
    """Call `main`; if something is unavailable, say so in one line and exit with 2."""
    try:
        main()
    except UnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(UNAVAILABLE)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser of arguments whose help is the program's docstring, as it is written."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


# ------------------------------------------------------------------------------- processes


def in_fresh_process(script: str, *arguments: object) -> list[Facts]:
    """The lines of JSON that a script of this folder prints, run alone in a process of its own.

    Raises
    ------
    UnavailableError
        If the script found that what it was to measure is not there.
    RuntimeError
        If it failed otherwise; the message ends with what it wrote.
    """
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == UNAVAILABLE and done.stderr.startswith("error: "):
        raise UnavailableError(done.stderr.removeprefix("error: ").strip())
    if done.returncode:
        raise RuntimeError(f"{script} {' '.join(map(str, arguments))} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


# ------------------------------------------------------------------------------- time


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What `work` returns, and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def repeated(
    work: Callable[[], object], *, seconds: float, times: int | None = None, at_least: int = 3
) -> list[float]:
    """The seconds of each call of `work`: `times` calls, or else as many as `seconds` allow."""
    taken: list[float] = []
    while len(taken) < times if times else len(taken) < at_least or sum(taken) < seconds:
        taken.append(timed(work)[1])
    return taken


class OtherPrograms:
    """How much of the machine other programs take from now on."""

    def __init__(self) -> None:
        self.wall, self.own, self.busy = time.perf_counter(), time.process_time(), _busy_seconds()

    def cores(self) -> float | None:
        """Cores that all but this process kept busy since then, on average; None but on Linux."""
        busy = _busy_seconds()
        if busy is None or self.busy is None:
            return None
        others = busy - self.busy - (time.process_time() - self.own)
        return round(max(0.0, others / (time.perf_counter() - self.wall)), 2)


def _busy_seconds() -> float | None:
    """Of all cores together, since the machine was started (proc(5), /proc/stat)."""
    if sys.platform != "linux":
        return None
    user, nice, system, _idle, _iowait, *interrupted = (
        int(ticks) for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupted)) / os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------------- memory


def resident_mib() -> float | None:
    """Memory of this process that is in RAM now, MiB; None but on Linux."""
    return _status("VmRSS:")


def peak_mib() -> float | None:
    """The most that ever was, since `forget_peak`, MiB; None but on Linux.

    Not `getrusage`, whose peak a process inherits from the one that started it.
    """
    return _status("VmHWM:")


def forget_peak() -> None:
    """Reset the peak of `peak_mib` to the memory that is resident now."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def above(base: float | None, peak: float | None) -> float | None:
    """peak - base, in tenths of a MiB; None where either is unknown."""
    return None if base is None or peak is None else round(peak - base, 1)


def _status(key: str) -> float | None:
    if sys.platform != "linux":
        return None
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next((line.split()[1] for line in lines if line.startswith(key)), None)
    return None if kib is None else int(kib) / 1024


# ------------------------------------------------------------------------------- growth


def exponent(sizes: Sequence[float], values: Sequence[float | None]) -> float | None:
    """b of the power law value = a * size ** b, fitted by least squares of logarithms.

    None where there are fewer than two points, or one is unknown or not above 0.
    """
    known = [value for value in values if value is not None and value > 0]
    if len(known) < max(2, len(values)):
        return None
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in known]
    x_mean, y_mean = math.fsum(x) / len(x), math.fsum(y) / len(y)
    covariance = math.fsum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return round(covariance / math.fsum((a - x_mean) ** 2 for a in x), 2)


# ------------------------------------------------------------------------------- results


def add_json_option(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument("--json", action="store_true", help="lines of JSON, not a table")


def show(results: Sequence[Facts], *, as_json: bool) -> None:
    """Print results of one kind as lines of JSON or as a Markdown table with a blank line."""
    if as_json:
        for facts in results:
            print(json.dumps(facts), flush=True)
    else:
        print(markdown(results), flush=True)


def markdown(results: Sequence[Facts]) -> str:
    """A Markdown table: the keys as its head, then a line for each result; numbers to the right."""
    names = list(results[0])
    numeric = [
        all(isinstance(each[name], int | float | None) for each in results) for name in names
    ]
    lines = [
        names,
        ["---:" if right else "---" for right in numeric],
        *([_cell(each[name]) for name in names] for each in results),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
