"""Bring the README's numbers up to date: python -m lmladder.reports.readme [--check] README.md

Its generated parts (see `generated.py`) are made anew from the `outputs` beside it: table, samples
and findings. Names of splits after table, and of models after samples, choose what is shown.
"""

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lmladder.reports.findings import findings
from lmladder.reports.generated import Maker, update
from lmladder.reports.samples import read_samples
from lmladder.reports.table import escaped, models_of, read_csv, to_markdown
from lmladder.system.errors import InputError, LadderError

import pandas as pd

SAMPLE_CHARACTERS = 500
SAMPLE_WIDTH = 92


def makers(outputs: Path) -> dict[str, Maker]:
    """What makes each part, from the files in `outputs`.

    Raises
    ------
    InputError
        Here or when a part is made, if a file it needs is missing.
    """
    table = read_csv(outputs / "evaluate" / "perplexity.csv")
    return {name: partial(part, table, outputs) for name, part in PARTS.items()}


def _table(table: pd.DataFrame, outputs: Path, splits: Sequence[str]) -> str:
    chosen = _chosen(splits, list(dict.fromkeys(table["split"])))
    return to_markdown(table[table["split"].isin(chosen)])


def _findings(table: pd.DataFrame, outputs: Path, names: Sequence[str]) -> str:
    return escaped(findings(table))


def _samples(table: pd.DataFrame, outputs: Path, models: Sequence[str]) -> str:
    """Each as an indented block: no line of it can end the block, or look like a marker."""
    samples = read_samples(outputs / "evaluate" / "samples.txt")
    return "\n\n".join(
        f"**{escaped(each.label)}**\n\n{textwrap.indent(_excerpt(samples[name]), ' ' * 4)}"
        for name, each in models_of(table).items()
        if name in samples and name in _chosen(models, list(samples))
    )


def _chosen(names: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The names that a marker asks for; all that are known where it asks for none."""
    if unknown := sorted(set(names) - set(known)):
        raise InputError(f"a generated part asks for {unknown[0]!r}; choose from {list(known)}")
    return names or known


def _excerpt(text: str) -> str:
    """The beginning, in lines of a readable width."""
    cut = text[:SAMPLE_CHARACTERS].rstrip() + ("…" if len(text) > SAMPLE_CHARACTERS else "")
    lines = (textwrap.wrap(line, SAMPLE_WIDTH) or [""] for line in cut.splitlines())
    return "\n".join(line for wrapped in lines for line in wrapped) or "(nothing)"


PARTS: dict[str, Callable[[pd.DataFrame, Path, Sequence[str]], str]] = {
    "table": _table,
    "samples": _samples,
    "findings": _findings,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 done, 1 stale, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m lmladder.reports.readme", description="Bring a README's numbers up to date."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it is stale")
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
