"""Update the generated parts of pages, such as their tables of results.

    python benchmarks/readme.py README.md docs/results.md
    python benchmarks/readme.py --check docs/oracle.md     # only report whether it is stale

A generated part is between the lines `<!-- generated: NAME -->` and `<!-- end generated -->`. Words
after the name are arguments of the function in `MAKERS` that makes it. Folders of `results` are
those of the current folder.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import compare, grammars, measure, presets
from benchmarks.seeds import evaluated, over_seeds, seeds_grid
from lmladder.reports.findings import findings
from lmladder.reports.grid import Grid, escaped
from lmladder.system.errors import InputError, LadderError, RunError
from lmladder.system.files import atomic_write

Maker: TypeAlias = Callable[[Sequence[str]], str]  # returns the text of a part for its arguments

RESULTS = Path("results")
PART = re.compile(
    r"^(<!-- generated: (\w+)((?: \w+)*) -->\n)(.*?)^(<!-- end generated -->)$",
    re.MULTILINE | re.DOTALL,
)
MARKER = re.compile(r"^<!-- generated\b.*$", re.MULTILINE)


def seeds(names: Sequence[str]) -> str:
    """Return the whole table over seeds of some folders of results."""
    return seeds_grid(RESULTS, names).to_markdown()


def ladder(names: Sequence[str]) -> str:
    """Return five columns of the table of a folder of results: the loss of its last split."""
    grid = seeds_grid(RESULTS, names)
    columns = [0, len(grid.titles) - 5, -3, -2, -1]
    split = grid.titles[columns[1]].rpartition(" ")[2]
    titles = ["Model", f"Nats per token, {split} text", *grid.titles[-3:]]
    return Grid(
        grid.caption, titles, [[cells[i] for i in columns] for cells in grid.rows]
    ).to_markdown()


def models(names: Sequence[str]) -> str:
    """Return the losses, of the last split and on crops, of models of a folder of results."""
    folder, *chosen = names
    grid, table = seeds_grid(RESULTS, [folder]), over_seeds(evaluated(RESULTS / folder))
    labels = dict(zip(table["model"], table["label"], strict=True))
    rows = {cells[0]: [cells[0], cells[-5], cells[-4]] for cells in grid.rows}
    titles = ["Model", "Nats per token", "On crops"]
    return Grid(grid.caption, titles, [rows[labels[each]] for each in chosen]).to_markdown()


def sentences(names: Sequence[str]) -> str:
    """Return a paragraph of what each folder of results shows."""
    return "\n\n".join(escaped(findings(over_seeds(evaluated(RESULTS / each)))) for each in names)


def law(part: str) -> Maker:
    """Return the maker of a part of docs/scaling.md, for whose fits SciPy must be installed."""

    def made(names: Sequence[str]) -> str:
        from benchmarks import scaling

        make: Any = getattr(scaling, part)
        return make([scaling.committed(each) for each in names])

    return made


MAKERS: dict[str, Maker] = {
    "seeds": seeds,
    "ladder": ladder,
    "models": models,
    "findings": sentences,
    "presets": lambda _: measure.markdown(presets.rows()),
    "grammars": lambda _: measure.markdown(grammars.rows()),
    "compare": lambda _: compare.report(compare.recorded(compare.RECORD)),
    **{part: law(part) for part in ("laws", "predictions", "entropies")},
}


def regenerated(text: str) -> str:
    """Return the text of a page with its generated parts updated.

    Raises
    ------
    InputError
        If there is no part, a part is unknown or has no end, or it cannot be made.
    """
    parts = list(PART.finditer(text))
    if not parts or len(parts) != len(MARKER.findall(text)):
        raise InputError(
            "each generated part needs a line <!-- generated: NAME --> before it "
            "and a line <!-- end generated --> after it"
        )

    def made(part: re.Match[str]) -> str:
        if part[2] not in MAKERS:
            raise InputError(f"unknown generated part {part[2]!r}; choose from {sorted(MAKERS)}")
        return f"{part[1]}\n{MAKERS[part[2]](part[3].split()).rstrip()}\n\n{part[5]}"

    return PART.sub(made, text)


def update(page: Path, *, check: bool) -> None:
    """Update a page; with `check`, raise RunError if it is stale."""
    try:
        text = page.read_text(encoding="utf-8")
        fresh = regenerated(text)
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot read {page}: {getattr(error, 'strerror', error)}") from error
    except InputError as error:
        raise InputError(f"{page}: {error}") from error
    if check and fresh != text:
        raise RunError(f"{page} is stale; run: python benchmarks/readme.py {page}")
    atomic_write(page, fresh.encode("utf-8"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done, 1 stale, 2 for bad input."""
    parser = measure.parser(__doc__)
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    parser.add_argument("--check", action="store_true", help="fail if a page is stale")
    given = parser.parse_args(argv)
    try:
        for page in given.pages:
            update(page, check=given.check)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
