"""How time and memory grow: of a training step with the model's shape, of a fit with the text.

    python benchmarks/growth.py [--only context width] [--seconds 1]

prints a Markdown table for each of context, width, layers, batch and (Kneser-Ney) tokens, each
point measured in a process of its own, and after it the exponents b of value = a * size ** b,
fitted and expected. Expected of a step are the exponents of its counts at the same sizes: of its
matrix products (product_flops), and of what it must hold (held_bytes), without the scores of
attention. Expected of a fit is 1 for both, as it sorts n-grams and keeps them.

Memory is the peak, less what was resident before the model or the text was there; of a step also
less that of a step at `micro`, which needs little memory besides what the engine loads once.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.engines import ENGINES
from benchmarks.measure import Facts
from benchmarks.shapes import SIZES, held_bytes, product_flops

CONFIG = "nano"
BASE = ("context=128", "layers=2", "batch=8")
POINTS = {
    "context": (64, 128, 256, 512, 1024),
    "width": (64, 128, 256, 512),
    "layers": (1, 2, 4, 8),
    "batch": (2, 4, 8, 16, 32),
}
TOKENS = "tokens"  # of the text that Kneser-Ney is fitted to
TEXT_LENGTHS = (250_000, 500_000, 1_000_000, 2_000_000)


def step_growth(
    name: str, points: Sequence[int], *, engine: str, seconds: float
) -> tuple[list[Facts], list[Facts]]:
    """The table of a training step against one number of its shape, and the exponents."""
    (least,) = measure.in_fresh_process(
        "train_step.py", "--config", "micro", "--engine", engine, "--steps", 1
    )
    table: list[Facts] = []
    for point in points:
        changes = [*(each for each in BASE if not each.startswith(name)), f"{name}={point}"]
        size = SIZES[CONFIG].changed(changes)
        options = ["--config", CONFIG, "--engine", engine, "--seconds", seconds, "--set", *changes]
        (facts,) = measure.in_fresh_process("train_step.py", *options)
        table.append(
            {
                name: point,
                "ms": facts["min_ms"],
                "GFLOP": round(product_flops(size) / 1e9, 3),
                "GFLOP/s": facts["gflops_per_second"],
                "MiB": measure.above(least["peak_mib"], facts["peak_mib"]),
                "MiB held at least": round(held_bytes(size) / 2**20, 1),
            }
        )
    return table, exponents(table, name, {"ms": "GFLOP", "MiB": "MiB held at least"})


def fit_growth(lengths: Sequence[int], order: int) -> tuple[list[Facts], list[Facts]]:
    """The table of counting and fitting Kneser-Ney against the text's length, and the exponents."""
    table: list[Facts] = []
    for length in lengths:
        (facts,) = measure.in_fresh_process("growth.py", "--fit", length, "--order", order)
        table.append(facts)
    return table, exponents(table, TOKENS, {"ms": 1.0, "MiB": 1.0})


def exponents(table: list[Facts], name: str, expected: dict[str, str | float]) -> list[Facts]:
    """Of each column named, the fitted exponent and the one expected, or that of another column."""
    sizes = [line[name] for line in table]

    def fitted(column: str) -> float | None:
        return measure.exponent(sizes, [line[column] for line in table])

    return [
        {
            f"exponent in {name}": column,
            "fitted": fitted(column),
            "expected": fitted(other) if isinstance(other, str) else other,
        }
        for column, other in expected.items()
    ]


def fit(length: int, order: int) -> Facts:
    """Time and memory of one Kneser-Ney fit, in this process."""
    from benchmarks.counts import stored_bytes, zipf_markov_text
    from lmladder.models.counts import CountTables
    from lmladder.models.ngram import KneserNey

    vocabulary_size = 64
    tokens, _ = zipf_markov_text(length, vocabulary_size, seed=0)

    def work() -> tuple[CountTables, KneserNey]:
        tables = CountTables.count(tokens, vocabulary_size, order)
        return tables, KneserNey(tables, order)

    measure.forget_peak()
    base = measure.resident_mib()
    (tables, model), seconds = measure.timed(work)
    return {
        TOKENS: length,
        "ms": round(seconds * 1e3, 2),
        "MiB": measure.above(base, measure.peak_mib()),
        "distinct n-grams": model.n_parameters,
        "bytes a distinct n-gram": round(stored_bytes(tables) / model.n_parameters, 2),
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=[*POINTS, TOKENS], default=[*POINTS, TOKENS])
    parser.add_argument("--engine", choices=ENGINES, default="lmladder", help="of the steps")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timed steps a point")
    parser.add_argument("--order", type=int, default=5, help="of Kneser-Ney")
    parser.add_argument("--points", type=int, nargs="+", help="instead of those there are")
    parser.add_argument("--fit", type=int, metavar="TOKENS", help="one fit, as a line of JSON")
    measure.add_json_option(parser)
    arguments = parser.parse_args()
    if arguments.fit:
        print(json.dumps(fit(arguments.fit, arguments.order)))
        return
    for name in arguments.only:
        if name == TOKENS:
            tables = fit_growth(arguments.points or TEXT_LENGTHS, arguments.order)
        else:
            points = arguments.points or POINTS[name]
            tables = step_growth(name, points, engine=arguments.engine, seconds=arguments.seconds)
        for table in tables:
            measure.show(table, as_json=arguments.json)


if __name__ == "__main__":
    measure.run(main)
