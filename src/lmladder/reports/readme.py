"""Update the numbers in the README: python -m lmladder.reports.readme [--check] README.md

Its generated parts (see `generated.py`) are table, samples and findings, made from the folder
`outputs` beside it, and seeds, made from folders of `results` beside it. Names of models after
samples select some; those after seeds are of the folders, and so are those after findings, if any.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lmladder.reports.findings import findings
from lmladder.reports.generated import Maker, update
from lmladder.reports.seeds import evaluated, over_seeds, seeds_grid
from lmladder.reports.table import escaped, ladder_grid, models_of, read_csv
from lmladder.reports.text import read_samples
from lmladder.system.errors import InputError, LadderError

import pandas as pd

SAMPLE_CHARACTERS = 500
SAMPLE_WIDTH = 92


def makers(outputs: Path) -> dict[str, Maker]:
    """Return the functions that make each part from the files in `outputs`.

    Raises
    ------
    InputError
        If a file is missing, here or when a part is made.
    """
    table = read_csv(outputs / "evaluate" / "perplexity.csv")
    return {
        "table": lambda _: ladder_grid(table).to_markdown(),
        "samples": partial(_samples, table, outputs / "evaluate" / "samples.txt"),
        "seeds": partial(_seeds, outputs.parent / "results"),
        "findings": partial(_findings, table, outputs.parent / "results"),
    }


def _seeds(results: Path, names: Sequence[str]) -> str:
    if missing := [name for name in names if not (results / name).exists()]:
        return f"There are no results yet; run `make {' '.join(missing)}`."
    return seeds_grid(results, names).to_markdown()


def _findings(table: pd.DataFrame, results: Path, names: Sequence[str]) -> str:
    folders = [results / name for name in names if (results / name).exists()]
    tables = [over_seeds(evaluated(each)) for each in folders] if names else [table]
    return "\n\n".join(escaped(findings(each)) for each in tables)


def _samples(table: pd.DataFrame, path: Path, models: Sequence[str]) -> str:
    """Return each sample as an indented block, whose lines cannot be taken for a marker."""
    samples = read_samples(path)
    if unknown := sorted(set(models) - set(samples)):
        raise InputError(f"a generated part asks for {unknown[0]!r}; choose from {[*samples]}")
    return "\n\n".join(
        f"**{escaped(each.label)}**\n\n{textwrap.indent(_excerpt(samples[name]), ' ' * 4)}"
        for name, each in models_of(table).items()
        if name in (models or samples) and name in samples
    )


def _excerpt(text: str) -> str:
    """Return the beginning, in lines of a readable width."""
    cut = text[:SAMPLE_CHARACTERS].rstrip() + ("…" if len(text) > SAMPLE_CHARACTERS else "")
    lines = (textwrap.wrap(line, SAMPLE_WIDTH) or [""] for line in cut.splitlines())
    return "\n".join(line for wrapped in lines for line in wrapped) or "(nothing)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done, 1 stale, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m lmladder.reports.readme", description="Update the numbers in a README."
    )
    parser.add_argument("--check", action="store_true", help="fail if the file is stale")
    parser.add_argument("readme", type=Path, metavar="README.md")
    given = parser.parse_args(argv)
    readme: Path = given.readme
    command = f"python -m lmladder.reports.readme {readme}"
    try:
        update(readme, makers(readme.parent / "outputs"), command=command, check=given.check)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
