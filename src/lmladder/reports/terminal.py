"""The perplexity table in a terminal, with the times on this machine."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lmladder.reports.table import SHOWN, Grid, ladder_grid, whole

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

NARROW = ("Model", "Perplexity", "Bits/byte", "Parameters", "Steps")  # 80 columns have room
TIMES = {"Seconds": "seconds", "Tokens/s": "tokens_per_second"}


def print_table(
    table: pd.DataFrame,
    performance: Mapping[str, Mapping[str, float | None]] | None = None,
    console: Console | None = None,
) -> None:
    """Print the table of all splits.

    Parameters
    ----------
    performance : content of the performance.json of each rung, by its folder. It depends on the
        machine and the run, so it is not part of any output.
    """
    columns = {title: SHOWN[title] for title in NARROW}
    for title, key in TIMES.items() if performance else ():
        columns[title] = partial(_time, performance or {}, key)
    console, grid = console or Console(), ladder_grid(table, columns, NARROW[1:2])
    console.print(f"\n[bold]{grid.caption}[/bold]", highlight=False)
    shown = empty_table(grid, folded=grid.titles[1:])
    for cells in grid.rows:
        shown.add_row(*map(Text, cells))
    console.print(shown)
    if performance:
        console.print("Seconds are those of a stage; one stage fits all count models.")


def empty_table(grid: Grid, folded: Sequence[str]) -> Table:
    """Return a table with the columns of a grid, of which some may be folded."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for index, title in enumerate(grid.titles):
        side: Any = "left" if index < grid.words else "right"
        table.add_column(title, justify=side, overflow="fold", no_wrap=title not in folded)
    return table


def as_text(caption: str, table: Table) -> str:
    """Return a table in color and folded to the width of a terminal; plain if there is none."""
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 10_000, color_system="auto" if terminal else None)
    with console.capture() as captured:
        console.print(Text(caption), table, sep="\n")
    return "\n".join(row.rstrip() for row in captured.get().splitlines())


def _time(
    performance: Mapping[str, Mapping[str, float | None]], key: str, row: Mapping[str, Any]
) -> str:
    return whole(performance.get(row["rung"], {}).get(key)) if row["parameters"] else ""
