"""Time and memory of one training step: forward, backward, clipping and AdamW, in float32.

    python benchmarks/train_step.py --config nano --engine torch [--set context=128 ...]

prints one JSON line. The engine is alone in its process; all start from the same weights and read
the same batches (see shapes.py).

    min_ms, median_ms    of a step, of those after the first three
    tokens_per_second    at min_ms
    gflops_per_second    at min_ms, by the model's own count of matrix products (product_flops)
    peak_mib             the most memory that was resident, less what was just before the model was
                         built: weights, optimizer, activations, the engine's buffers, and what it
                         needs once to compile
    steady_mib           the same for the timed steps only: without the peak of compiling, but with
                         memory that an engine does not release
    others_cores         that other programs used during the timed steps; much above 0, the times
                         are not reliable
    losses               of the first four steps, to be compared between engines: each is computed
                         before its step's update, so the last one is that after three steps
"""

import json
import statistics
import sys
from itertools import count
from pathlib import Path

if __name__ == "__main__":  # the root, where `benchmarks` is; `profile` is Python's own there
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import engines, measure
from benchmarks.measure import Facts
from benchmarks.shapes import SIZES, Size, product_flops

WARM_UP = 3  # steps that are not timed, and after which losses are compared


def measure_steps(
    name: str, size: Size, *, threads: int, steps: int | None, seconds: float
) -> Facts:
    """What one engine takes, in this process, which must not have been used before."""
    engine = engines.load(name, threads)
    weights = engines.initial_weights(size)
    batches = size.batches()

    measure.forget_peak()
    base = measure.resident_mib()
    step = engine.trainer(size, weights)
    numbers = count()
    losses: list[float] = []

    def next_step() -> None:
        losses.append(step(batches[next(numbers) % len(batches)]))

    for _ in range(WARM_UP):
        next_step()
    peak = measure.peak_mib()
    measure.forget_peak()
    others = measure.OtherPrograms()
    taken = measure.repeated(next_step, seconds=seconds, times=steps)
    others_cores = others.cores()
    steady = measure.peak_mib()
    if peak is not None and steady is not None:
        peak = max(peak, steady)
    best = min(taken)
    return {
        "engine": name,
        "version": engine.version,
        "threads": threads,
        "steps": len(taken),
        "min_ms": round(best * 1e3, 4),
        "median_ms": round(statistics.median(taken) * 1e3, 4),
        "tokens_per_second": round(size.tokens / best),
        "gflops_per_second": round(product_flops(size) / best / 1e9, 2),
        "peak_mib": measure.above(base, peak),
        "steady_mib": measure.above(base, steady),
        "others_cores": others_cores,
        "losses": losses[: WARM_UP + 1],
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--config", choices=SIZES, default="nano")
    parser.add_argument("--engine", choices=engines.ENGINES, default="lmladder")
    parser.add_argument("--steps", type=int, help="timed; default: as many as --seconds allow")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timed steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=N", help="change the config")
    arguments = parser.parse_args()
    try:
        size = SIZES[arguments.config].changed(arguments.set)
    except ValueError as error:
        parser.error(str(error))
    facts = measure_steps(
        arguments.engine,
        size,
        threads=arguments.threads,
        steps=arguments.steps,
        seconds=arguments.seconds,
    )
    print(json.dumps({"config": " ".join([arguments.config, *arguments.set]), **facts}))


if __name__ == "__main__":
    measure.run(main)
