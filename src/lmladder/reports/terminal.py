"""The perplexity table in a terminal, with the times on this machine."""

from collections.abc import Mapping

from lmladder.reports.table import WIDE, by_split, shown, titles_of, whole

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(
    table: pd.DataFrame,
    performance: Mapping[str, Mapping[str, float | None]] | None = None,
    console: Console | None = None,
) -> None:
    """Print one table per split.

    Parameters
    ----------
    performance : content of the performance.json of each rung, by its folder. It depends on the
        machine and the run, so it is not part of any output.
    """
    console = console or Console()
    for heading, rows in by_split(table):
        console.print(f"\n[bold]{heading}[/bold]", highlight=False)
        grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        titles = [title for title in titles_of(table) if title not in WIDE]
        for title in (*titles, *(("Seconds", "Tokens/s") if performance else ())):
            grid.add_column(title, justify="left" if title == titles[0] else "right")
        for row in rows:
            facts = (performance or {}).get(row["rung"], {}) if row["parameters"] else {}
            cells = [cell.partition(" ±")[0] for cell in shown(row, titles)]
            cells += [whole(facts.get(key)) for key in ("seconds", "tokens_per_second")]
            grid.add_row(*map(Text, cells[: len(grid.columns)]))
        console.print(grid)
    if performance:
        console.print("Seconds are those of a stage; one stage fits all count models.")
