"""Bring the README's numbers up to date: python -m lmladder.reports.readme [--check] README.md

Each part between `<!-- generated: NAME -->` and `<!-- end generated -->`, both on lines of their
own, is made anew from the `outputs` beside the README. NAME is table, samples or findings; names
of splits after table, and of models after samples, choose what is shown.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from lmladder.atomic import atomic_write
from lmladder.errors import InputError, LadderError, RunError
from lmladder.reports.findings import findings
from lmladder.reports.samples import by_ladder, read_samples
from lmladder.reports.table import escaped, label, read_csv, to_markdown

import pandas as pd

PART = re.compile(
    r"^(<!-- generated: (\w+)((?: \w+)*) -->\n)(.*?)^(<!-- end generated -->)$",
    re.MULTILINE | re.DOTALL,
)
MARKER = re.compile(r"^<!-- generated\b.*$", re.MULTILINE)
SAMPLE_CHARACTERS = 500
SAMPLE_WIDTH = 92


def regenerated(text: str, outputs: Path) -> str:
    """A README's `text` with all generated parts made from the files in `outputs`.

    Raises
    ------
    InputError
        If there is no such part, an unknown or an unfinished one, or a file it needs is missing.
    """
    parts = list(PART.finditer(text))
    if not parts or len(parts) != len(MARKER.findall(text)):
        raise InputError(
            "each generated part needs a line <!-- generated: NAME --> before it "
            "and a line <!-- end generated --> after it"
        )
    table = read_csv(outputs / "evaluate" / "perplexity.csv")

    def made(part: re.Match[str]) -> str:
        if part[2] not in PARTS:
            raise InputError(f"unknown generated part {part[2]!r}; choose from {sorted(PARTS)}")
        fresh = PARTS[part[2]](table, outputs, part[3].split())
        return f"{part[1]}\n{fresh.rstrip()}\n\n{part[5]}"

    return PART.sub(made, text)


def _table(table: pd.DataFrame, outputs: Path, splits: Sequence[str]) -> str:
    chosen = _chosen(splits, list(dict.fromkeys(table["split"])))
    return to_markdown(table[table["split"].isin(chosen)])


def _findings(table: pd.DataFrame, outputs: Path, names: Sequence[str]) -> str:
    return escaped(findings(table))


def _samples(table: pd.DataFrame, outputs: Path, models: Sequence[str]) -> str:
    """Each as an indented block: no line of it can end the block, or look like a marker."""
    paths = sorted(outputs.glob("*/samples.txt"))
    if not paths:
        raise InputError(f"there is no {outputs / '*' / 'samples.txt'}; run: dvc repro")
    samples: dict[str, str] = {}
    for path in paths:
        samples |= read_samples(path)
    ordered = by_ladder(samples, list(dict.fromkeys(table["model"])))
    return "\n\n".join(
        f"**{escaped(label(model))}**\n\n{textwrap.indent(_excerpt(text), ' ' * 4)}"
        for model, text in ordered.items()
        if model in _chosen(models, list(ordered))
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
    arguments = parser.parse_args(argv)
    try:
        _run(arguments.readme, check=arguments.check)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _run(readme: Path, *, check: bool) -> None:
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot read {readme}: {getattr(error, 'strerror', error)}") from error
    try:
        fresh = regenerated(text, readme.parent / "outputs")
    except InputError as error:
        raise InputError(f"{readme}: {error}") from error
    if fresh == text:
        return
    if check:
        raise RunError(f"{readme} is stale; run: python -m lmladder.reports.readme {readme}")
    atomic_write(readme, fresh.encode("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
