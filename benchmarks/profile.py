"""Where a training step of lmladder's goes: milliseconds of each kind of op, forward and backward.

    python benchmarks/profile.py --config nano

prints a Markdown table of the quickest of the profiled steps. Timers stand around each op's own
arithmetic and around its pullback. What remains of the forward and the backward pass is the
engine's: checking types, recording the graph, walking it back, adding gradients up, freeing.

The timers cost something themselves. Beneath the table stand the time of a step without them, and
what their calls take by a measurement of the bare timer; the engine's line bears that cost.
"""

import functools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import engines, measure
from benchmarks.measure import Facts
from benchmarks.shapes import SIZES, Size

GROUPS = {
    "matrix products": ("linear", "matmul", "einsum"),
    "attention": ("causal_attention",),
    "norms": ("layer_norm", "rms_norm"),
    "activations": ("gelu", "gelu_tanh", "relu", "sigmoid", "tanh"),
    "loss": ("cross_entropy", "softmax", "log_softmax"),
    "embedding": ("embedding", "getitem"),
}
OTHER = "element-wise and other"
ENGINE, OPTIMIZER = "engine", "clipping and optimizer"
FORWARD, BACKWARD = "forward", "backward"


class Timers:
    """Seconds and calls by phase and group, since they were last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def around(self, function: Callable[..., Any], phase: str, group: str) -> Callable[..., Any]:
        """The same function, timed."""

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds[phase, group] += time.perf_counter() - start
            self.calls[group] += 1
            return result

        return timed

    def around_op(self, function: Callable[..., Any], group: str) -> Callable[..., Any]:
        """The same (value, pullback) function, both halves timed."""
        forward = self.around(function, FORWARD, group)

        @functools.wraps(function)
        def timed(*arrays: Any, **options: Any) -> tuple[Any, Callable[..., Any]]:
            value, pullback = forward(*arrays, **options)
            return value, self.around(pullback, BACKWARD, group)

        return timed

    def seconds_a_call(self) -> float:
        """What a timer costs, measured on a function that does nothing."""

        def nothing() -> None: ...

        def seconds(work: Callable[[], object]) -> float:
            return min(measure.repeated(lambda: [work() for _ in range(1000)], seconds=0.02))

        return (seconds(self.around(nothing, "", "")) - seconds(nothing)) / 1000


def put_in_place(timers: Timers) -> None:
    """Time every op of lmladder from now on.

    The function that `@op` lifted is exchanged inside the lifted one, so that all who hold an op,
    such as the operators of Tensor, hold the timed one.
    """
    from lmladder.autograd import OPS

    group_of = {op: group for group, ops in GROUPS.items() for op in ops}
    for name, lifted in OPS.items():
        function = lifted.__wrapped__  # type: ignore[attr-defined]
        (cell,) = (each for each in lifted.__closure__ or () if each.cell_contents is function)
        cell.cell_contents = timers.around_op(function, group_of.get(name, OTHER))


def measure_profile(
    size: Size, *, threads: int, steps: int | None, seconds: float
) -> tuple[list[Facts], Facts]:
    """The table's lines, and what is to be said of all of it."""
    engines.load("lmladder", threads)
    weights = engines.initial_weights(size)
    rows = size.batches()[0]

    from benchmarks.engines import ours

    plain_step = ours.trainer(size, weights)
    measure.repeated(lambda: plain_step(rows), seconds=0)
    plain = min(measure.repeated(lambda: plain_step(rows), seconds=seconds, times=steps))

    timers = Timers()
    put_in_place(timers)
    loss_of, update = ours.training(size, weights)
    profiles: list[tuple[float, dict[tuple[str, str], float], dict[str, int]]] = []

    def profiled_step() -> None:
        timers.reset()
        loss, forward = measure.timed(lambda: loss_of(rows))
        _, backward = measure.timed(loss.backward)
        _, optimizer = measure.timed(update)
        spent = timers.seconds
        for phase, total in ((FORWARD, forward), (BACKWARD, backward)):
            spent[phase, ENGINE] = total - sum(spent[key] for key in spent if key[0] == phase)
        spent["", OPTIMIZER] = optimizer
        profiles.append((forward + backward + optimizer, spent, timers.calls))

    measure.repeated(profiled_step, seconds=seconds, times=steps)
    total, spent, calls = min(profiles, key=lambda each: each[0])
    table = []
    for group in (*GROUPS, OTHER, ENGINE, OPTIMIZER):
        of_group = {phase: value for (phase, name), value in spent.items() if name == group}
        milliseconds = sum(of_group.values()) * 1e3
        table.append(
            {
                "where": group,
                "forward ms": _milliseconds(of_group.get(FORWARD)),
                "backward ms": _milliseconds(of_group.get(BACKWARD)),
                "ms": round(milliseconds, 4),
                "%": round(milliseconds / total / 10, 1),
                "timed calls": calls.get(group),
            }
        )
    return table, {
        "profiled_ms": round(total * 1e3, 4),
        "plain_ms": round(plain * 1e3, 4),
        "timers_ms": round(sum(calls.values()) * timers.seconds_a_call() * 1e3, 4),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 4)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--config", choices=SIZES, default="nano")
    parser.add_argument("--steps", type=int, help="of each kind; default: as --seconds allow")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each kind of step")
    parser.add_argument("--threads", type=int, default=2)
    measure.add_json_option(parser)
    arguments = parser.parse_args()
    table, whole = measure_profile(
        SIZES[arguments.config],
        threads=arguments.threads,
        steps=arguments.steps,
        seconds=arguments.seconds,
    )
    if arguments.json:
        print(json.dumps({"config": arguments.config, **whole, "groups": table}))
        return
    print(measure.markdown(table))
    print(
        f"{arguments.config}: {whole['profiled_ms']:.4g} ms in all; "
        f"{whole['plain_ms']:.4g} ms without timers, which take {whole['timers_ms']:.2g} ms."
    )


if __name__ == "__main__":
    main()
