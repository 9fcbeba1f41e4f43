"""The time of each kind of work in a training step of lmladder, in milliseconds.

    python benchmarks/profile.py --config nano

prints a Markdown table. A step's loss and gradients are recorded as a list of calls, and each of
these is timed, the least of many times. The parts of a batch that threads compute at the same time
are added up, so the sum is the time of one thread. After the table follows the time of a whole step
with all threads.
"""

import functools
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import engines, measure
from benchmarks.measure import Facts
from benchmarks.shapes import SIZES, Size
from lmladder.nn import ACTIVATIONS

import numpy as np

GROUPS = {
    "matrix products": ("multiply", "_multiply_in_blocks"),
    "attention": ("attention", "attention_backward"),
    "norms": ("layer_norm", "layer_norm_backward", "rms_norm", "rms_norm_backward"),
    "positions": ("rotary", "rotary_backward"),
    "convolutions": ("causal_convolution", "causal_convolution_backward"),
    "activations": tuple(f"{name}{part}" for name in ACTIVATIONS for part in ("", "_backward")),
    "loss": ("cross_entropy", "cross_entropy_backward", "divide"),
    "embedding": ("take", "scatter_rows", "_check_range"),
    "sums": ("add",),
}
OTHER, OPTIMIZER = "other", "clipping and optimizer"


def group(function: Any) -> str:
    """The kind of work that a recorded call does."""
    function = getattr(function, "func", function)  # of functools.partial
    function = getattr(function, "__self__", function)  # np.add.reduce is of np.add
    if function is np.multiply:  # not that of `kernels.products`
        return OTHER
    name = getattr(function, "__name__", "")
    return next((kind for kind, names in GROUPS.items() if name in names), OTHER)


def measure_profile(size: Size, *, threads: int, seconds: float) -> tuple[list[Facts], Facts]:
    """Return the rows of the table, and facts about the whole step."""
    engines.load("lmladder", threads)
    from benchmarks.engines import ours
    from lmladder import kernels

    weights, rows = engines.initial_weights(size), size.batches()[0]
    step = ours.trainer(size, weights)
    whole = measure.repeated(lambda: step(rows), seconds=seconds)

    loss_of, update = ours.training(size, weights)
    for _ in range(2):
        loss_of(rows)
        update()
    loss_of(rows)
    optimizer = [measure.timed(update)[1]]
    calls = [call for program in loss_of.programs for call in program.calls]
    quickest = [float("inf")] * len(calls)

    def pass_over_calls() -> None:
        for number, (function, arguments) in enumerate(calls):
            _, taken = measure.timed(functools.partial(function, *arguments))
            quickest[number] = min(quickest[number], taken)

    def timed_update() -> None:
        loss_of(rows)
        optimizer.append(measure.timed(update)[1])

    if len(loss_of.programs) > 1:
        kernels.set_threads(1)  # as within a part
    measure.repeated(pass_over_calls, seconds=seconds)
    kernels.set_threads(threads)
    measure.repeated(timed_update, seconds=seconds / 3)

    spent: dict[str, float] = defaultdict(float)
    counted: dict[str, int] = defaultdict(int)
    for (function, _), taken in zip(calls, quickest, strict=True):
        kind = group(function)
        spent[kind] += taken
        counted[kind] += 1
    spent[OPTIMIZER], counted[OPTIMIZER] = min(optimizer), 1
    total = sum(spent.values())
    table = [
        {
            "where": kind,
            "ms": round(spent[kind] * 1e3, 4),
            "%": round(100 * spent[kind] / total, 1),
            "calls": counted[kind],
        }
        for kind in (*GROUPS, OTHER, OPTIMIZER)
    ]
    return table, {
        "parts": len(loss_of.programs),
        "sum_ms": round(total * 1e3, 4),
        "step_ms": round(min(whole) * 1e3, 4),
        "median_step_ms": round(statistics.median(whole) * 1e3, 4),
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--config", choices=SIZES, default="nano")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each kind of step")
    parser.add_argument("--threads", type=int, default=2)
    measure.add_json_option(parser)
    arguments = parser.parse_args()
    table, whole = measure_profile(
        SIZES[arguments.config], threads=arguments.threads, seconds=arguments.seconds
    )
    if arguments.json:
        print(json.dumps({"config": arguments.config, **whole, "groups": table}))
        return
    print(measure.markdown(table))
    print(
        f"{arguments.config}: {whole['sum_ms']:.4g} ms in all, in {whole['parts']} parts; "
        f"a step of {arguments.threads} threads takes {whole['step_ms']:.4g} ms."
    )


if __name__ == "__main__":
    main()
