"""A table as people see it: in Markdown and in a terminal."""

import html
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Grid:
    """A table as it is shown.

    Attributes
    ----------
    caption : describes the values
    titles : of the columns
    rows : cells under the titles; the first is the heading of its row
    words : number of columns before those of numbers
    note : explains a column
    """

    caption: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    note: str = ""

    def to_markdown(self) -> str:
        """Return a GitHub table between its caption and its note; numbers are right-aligned."""
        lines = [[*map(escaped, cells)] for cells in (self.titles, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        sides = ["<" if index < self.words else ">" for index in range(len(widths))]
        pairs = [*zip(sides, widths, strict=True)]
        line = f"| {' | '.join(f'{{:{side}{width}}}' for side, width in pairs)} |\n"
        rule = ["-" * width if side == "<" else f"{'-' * (width - 1)}:" for side, width in pairs]
        table = "".join(line.format(*cells) for cells in (lines[0], rule, *lines[1:]))
        return f"**{escaped(self.caption)}**\n\n{table}" + (f"\n{self.note}\n" if self.note else "")


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


def escaped(cell: str) -> str:
    """Escape a text so that Markdown shows it literally, in one line."""
    return html.escape(" ".join(cell.split()), quote=False).replace("|", "\\|")
