"""Tables in a terminal."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lmladder.reports.table import SHOWN, Grid, ladder_grid

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

NARROW = ("Model", "Perplexity", "Bits/byte", "Parameters", "Steps")  # 80 columns have room


def print_table(table: pd.DataFrame) -> None:
    """Print the table of all splits."""
    narrow = (each for each in SHOWN if each.title in NARROW)
    shown = [replace(each, of_each_split=each.title == "Perplexity") for each in narrow]
    grid = ladder_grid(table, shown)
    print(f"\n{as_text(grid, grid.titles[1:])}", flush=True)


def as_text(grid: Grid, folded: Sequence[str]) -> str:
    """Return a table in color, some of its columns folded to the width of a terminal.

    It is plain if standard output is not a terminal.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for index, title in enumerate(grid.titles):
        side: Any = "left" if index < grid.words else "right"
        table.add_column(title, justify=side, overflow="fold", no_wrap=title not in folded)
    for cells in grid.rows:
        table.add_row(*map(Text, cells))
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 10_000, color_system="auto" if terminal else None)
    with console.capture() as captured:
        console.print(Text(grid.caption), table, sep="\n")
    return "\n".join(row.rstrip() for row in captured.get().splitlines())
