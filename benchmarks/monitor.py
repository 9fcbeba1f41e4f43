"""What it costs to monitor gradient norms by group of parameters, as a share of training.

    python benchmarks/monitor.py --config nano --every 10

prints one JSON line. Rounds of `every` steps are timed in turns, with norms taken after the last
step's backward pass and without. The norms are those of a twin's gradients of the same shapes,
which the step has not just left in the cache, so they cost rather more than in training.

    step_ms             of a step without them, and
    monitored_step_ms   with them: the median of rounds, divided by their steps
    norms_ms            of the norms of all groups, once, timed by themselves: the median
    percent             of training that they take: norms_ms in every * step_ms. The difference of
                        the two medians is the same, but drowned in what a busy machine adds
    others_cores        that other programs kept busy meanwhile
"""

import json
import statistics
import sys
from itertools import count
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import engines, measure
from benchmarks.measure import Facts
from benchmarks.shapes import SIZES, Size


def measure_monitoring(size: Size, *, threads: int, every: int, seconds: float) -> Facts:
    """What monitoring costs at this size, in this process."""
    engines.load("lmladder", threads)
    from benchmarks.engines import ours
    from lmladder.optim import global_norm
    from lmladder.training.gradient_norms import parameter_groups

    loss_of, update = ours.training(size, engines.initial_weights(size))
    twin = ours.new_model(size)
    groups = parameter_groups(twin)
    for tensor in twin.parameters().values():
        tensor.grad = tensor.value.copy()
    batches, numbers = size.batches(), count()
    norms_taken: list[float] = []

    def take_norms() -> None:
        for tensors in groups.values():
            global_norm(tensors)

    def steps(monitored: bool) -> None:
        for last in range(every - 1, -1, -1):
            loss_of(batches[next(numbers) % len(batches)])
            if monitored and not last:
                norms_taken.append(measure.timed(take_norms)[1])
            update()

    steps(monitored=True)  # compiles
    norms_taken.clear()
    plain: list[float] = []
    monitored: list[float] = []

    def both() -> None:
        plain.append(measure.timed(lambda: steps(monitored=False))[1])
        monitored.append(measure.timed(lambda: steps(monitored=True))[1])

    others = measure.OtherPrograms()
    measure.repeated(both, seconds=seconds)
    step = statistics.median(plain) / every
    norms = statistics.median(norms_taken)
    return {
        "threads": threads,
        "every": every,
        "rounds": len(plain),
        "step_ms": round(step * 1e3, 4),
        "monitored_step_ms": round(statistics.median(monitored) / every * 1e3, 4),
        "norms_ms": round(norms * 1e3, 4),
        "percent": round(100 * norms / (every * step), 3),
        "others_cores": others.cores(),
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--config", choices=SIZES, default="nano")
    parser.add_argument("--every", type=int, default=10, help="steps")
    parser.add_argument("--seconds", type=float, default=10.0, help="of timed rounds")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    facts = measure_monitoring(
        SIZES[arguments.config],
        threads=arguments.threads,
        every=arguments.every,
        seconds=arguments.seconds,
    )
    print(json.dumps({"config": arguments.config, **facts}))


if __name__ == "__main__":
    measure.run(main)
