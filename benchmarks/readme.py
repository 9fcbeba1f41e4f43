"""Update the numbers in the README: python benchmarks/readme.py [--check] README.md

Its generated parts (see `generated.py`) are seeds and findings, a table and a sentence on the
ladders in folders of `results` beside it, which the words after the name of a part select.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.generated import Maker, update
from lmladder.reports.findings import findings
from lmladder.reports.seeds import evaluated, over_seeds, seeds_grid
from lmladder.reports.table import escaped
from lmladder.system.errors import LadderError


def makers(results: Path) -> dict[str, Maker]:
    """Return the functions that make each part from folders in `results`."""

    def seeds(names: Sequence[str]) -> str:
        if missing := [name for name in names if not (results / name).exists()]:
            return f"There are no results yet; run `make {' '.join(missing)}`."
        return seeds_grid(results, names).to_markdown()

    def sentences(names: Sequence[str]) -> str:
        folders = [results / name for name in names if (results / name).exists()]
        return "\n\n".join(escaped(findings(over_seeds(evaluated(each)))) for each in folders)

    return {"seeds": seeds, "findings": sentences}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done, 1 stale, 2 for bad input."""
    parser = argparse.ArgumentParser(description="Update the numbers in a README.")
    parser.add_argument("--check", action="store_true", help="fail if the file is stale")
    parser.add_argument("readme", type=Path, metavar="README.md")
    given = parser.parse_args(argv)
    readme: Path = given.readme
    command = f"python benchmarks/readme.py {readme}"
    try:
        update(readme, makers(readme.parent / "results"), command=command, check=given.check)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
