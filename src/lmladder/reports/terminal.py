"""The perplexity table in a terminal, with the times on this machine."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from lmladder.reports.table import SHOWN, ladder_grid, whole

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
    shown = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for title in grid.titles:
        first = title == grid.titles[0]
        shown.add_column(title, justify="left" if first else "right", no_wrap=first)
    for cells in grid.rows:
        shown.add_row(*map(Text, cells))
    console.print(shown)
    if performance:
        console.print("Seconds are those of a stage; one stage fits all count models.")


def _time(
    performance: Mapping[str, Mapping[str, float | None]], key: str, row: Mapping[str, Any]
) -> str:
    return whole(performance.get(row["rung"], {}).get(key)) if row["parameters"] else ""
