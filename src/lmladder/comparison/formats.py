"""A comparison as people and programs read it."""

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import Literal

from lmladder.comparison.lines import Comparison, Line, as_override
from lmladder.comparison.runs import METRICS

TITLES = {
    "bits_per_byte": "Bits/byte",
    "nats_per_token": "Nats/token",
    "perplexity": "Perplexity",
    "val_nats": "Nats/token",
}
LATEX = str.maketrans(
    {
        "±": r"$\pm$",
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)  # fmt: skip


def heading(comparison: Comparison) -> str:
    """What the numbers are, in a line."""
    of = METRICS[comparison.metric]
    return f"{of[0].upper()}{of[1:]}; differences with 95 % intervals"


def titles(comparison: Comparison) -> list[str]:
    """The words that head the columns for people; those of words come first."""
    return [
        *([] if comparison.by is None else [comparison.by]),
        "Model",
        *(["Settings"] if _tells_settings(comparison) else []),
        "Rank",
        "Runs",
        TITLES[comparison.metric],
        "To the best",
    ]


def cells(comparison: Comparison, line: Line) -> list[str]:
    """A line for people, under `titles`; what is unknown is empty."""
    spread = "" if line.deviation is None else f" ± {line.deviation:.4f}"
    distance = (
        "" if line.low is None else f"{line.difference:+.4f} [{line.low:+.4f}, {line.high:+.4f}]"
    )
    return [
        *([] if comparison.by is None else [as_override(line.group)]),
        line.model,
        *([line.shown] if _tells_settings(comparison) else []),
        _or_empty(line.rank, "d"),
        str(len(line.runs)),
        f"{line.score:.4f}{spread}",
        distance,
    ]


def print_terminal(comparison: Comparison) -> None:
    """With Rich, in colour and folded to the width of a terminal; plain where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 10_000, color_system="auto" if terminal else None)
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    words = _columns_of_words(comparison)
    for index, title in enumerate(titles(comparison)):
        fold = title == "Settings"
        justify: Literal["left", "right"] = "left" if index < words else "right"
        grid.add_column(title, justify=justify, overflow="fold", no_wrap=not fold)
    previous = comparison.lines[0].group
    for line in comparison.lines:
        if line.group != previous:
            grid.add_row()
        previous = line.group
        style = "bold" if line.rank == 1 else ""
        grid.add_row(*(Text(cell) for cell in cells(comparison, line)), style=style)
    with console.capture() as captured:
        console.print(Text(heading(comparison)))
        console.print(grid)
    print("\n".join(row.rstrip() for row in captured.get().splitlines()))


def to_csv(comparison: Comparison) -> str:
    """Six digits after the point; what is unknown is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            *([] if comparison.by is None else [comparison.by]), "model", "settings", "rank",
            "runs", comparison.metric, "standard_deviation", "difference", "low", "high",
        ]
    )  # fmt: skip
    for line in comparison.lines:
        numbers = (line.score, line.deviation, line.difference, line.low, line.high)
        writer.writerow(
            [
                *([] if comparison.by is None else [as_override(line.group)]), line.model,
                line.shown, _or_empty(line.rank, "d"), len(line.runs),
                *(_or_empty(number, ".6f") for number in numbers),
            ]
        )  # fmt: skip
    return file.getvalue().rstrip("\n")


def to_json(comparison: Comparison) -> str:
    """What all other formats have, and of each line its seeds, folders and settings."""
    lines = [
        {
            "model": line.model,
            "settings": line.runs[0].settings,
            "shown": line.shown,
            "group": line.group,
            "rank": line.rank,
            "score": _rounded(line.score),
            "standard_deviation": _rounded(line.deviation),
            "difference": _rounded(line.difference),
            "low": _rounded(line.low),
            "high": _rounded(line.high),
            "seeds": [run.seed for run in line.runs],
            "folders": [str(run.path) for run in line.runs],
        }
        for line in comparison.lines
    ]
    table = {
        "metric": comparison.metric,
        "of": METRICS[comparison.metric],
        "by": comparison.by,
        "lines": lines,
        "notes": comparison.notes,
    }
    return json.dumps(table, indent=2, default=str)


def to_markdown(comparison: Comparison) -> str:
    """One GitHub table under a line that tells what its numbers are."""
    from lmladder.reports.table import escaped

    head, words = titles(comparison), _columns_of_words(comparison)
    rows = [[escaped(cell) for cell in cells(comparison, line)] for line in comparison.lines]
    rule = ["---" if index < words else "---:" for index in range(len(head))]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])
    return f"**{heading(comparison)}**\n\n{table}"


def to_latex(comparison: Comparison) -> str:
    """A tabular for the package booktabs."""
    head, words = titles(comparison), _columns_of_words(comparison)
    shape = "l" * words + "r" * (len(head) - words)
    rows = [_latex_row(cells(comparison, line)) for line in comparison.lines]
    return "\n".join(
        [
            f"% {heading(comparison)}",
            f"\\begin{{tabular}}{{{shape}}}",
            "\\toprule",
            _latex_row(head),
            "\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def to_html(comparison: Comparison) -> str:
    """A page that stands alone: the table, every run, and what all have in common.

    Where lines are grouped by a setting, there is a picture of their scores over it.
    """
    from lmladder.comparison.picture import sweep_picture
    from lmladder.reports import as_svg
    from lmladder.reports.page import Grid, inlined, render

    figures = {}
    if comparison.by is not None:
        caption = f"Scores over {comparison.by}: mean and spread over seeds"
        figures[caption] = as_svg(sweep_picture(comparison))
    head, words = titles(comparison), _columns_of_words(comparison)
    best = min(comparison.lines, key=lambda line: line.score)
    group = "" if comparison.by is None else f"{comparison.by}={as_override(best.group)}"
    runs = [
        (line.model, line.shown, str(run.path), _or_empty(run.seed, "d"), f"{score:.4f}")
        for line in comparison.lines
        for run, score in zip(line.runs, line.scores(comparison.metric), strict=True)
    ]
    return render(
        "comparison.html.jinja",
        sorts=True,
        title=f"{len(runs)} run{'s' if len(runs) > 1 else ''} compared",
        summary=f"The best is {' '.join(filter(None, (best.model, group, best.shown)))}: "
        f"{best.score:.4f} {TITLES[comparison.metric].lower()}.",
        lines=Grid(
            heading(comparison), head, [cells(comparison, each) for each in comparison.lines], words
        ),
        figures=inlined(figures),
        runs=Grid(
            "Each run, in the order of the lines",
            ("Model", "Settings", "Folder", "Seed", TITLES[comparison.metric]), runs, words=3,
        ),
        settings=Grid(
            "Settings that are the same in all lines that have them",
            ("Setting", "Value"), _common(comparison.lines), words=2,
        ),
        notes=comparison.notes,
    )  # fmt: skip


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
    "json": to_json,
}


def print_comparison(comparison: Comparison, wanted: str | None = None) -> None:
    """To standard output in one of `FORMATS`, or for a terminal; notes to standard error."""
    if wanted is None:
        print_terminal(comparison)
    else:
        print(FORMATS[wanted](comparison))
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)


def _tells_settings(comparison: Comparison) -> bool:
    return any(line.shown for line in comparison.lines)


def _columns_of_words(comparison: Comparison) -> int:
    """How many columns come before those of numbers."""
    return titles(comparison).index("Rank")


def _common(lines: Sequence[Line]) -> list[tuple[str, str]]:
    values: dict[str, set[str]] = {}
    for line in lines:
        for key, value in (line.runs[0].settings or {}).items():
            values.setdefault(key, set()).add(as_override(value))
    return [(key, min(found)) for key, found in values.items() if len(found) == 1]


def _latex_row(row: Sequence[str]) -> str:
    # A bracket that opens a row's first cell would be an argument of the \\ before it.
    return " & ".join(cell.translate(LATEX) for cell in row).replace("[", "{[}") + r" \\"


def _or_empty(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
