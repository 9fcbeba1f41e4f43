"""What it costs to pin the arithmetic to AVX2, for the same bits on every machine that has it.

    python benchmarks/pinning.py --config nano

prints one JSON line. Two processes train the same model on one thread, in turns of a few steps: in
one runtime.py has pinned BLAS kernels, NumPy's instructions and the compiler's, in the other they
are chosen for this processor. BLAS's one thread and the memory that is kept change no bits; both
processes have them. On a processor without AVX-512 there is little to lose.

    pinned_ms, free_ms   of processor time for a step: the least of all steps
    percent              that pinning costs, by these; negative where it gains
    median_percent       the same by medians: how far it is from percent shows how certain that is
    free_kernels         of BLAS, as chosen for this processor
    same_losses          whether both had the same, to the bit
    others_cores         that other programs kept busy meanwhile
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts
from benchmarks.shapes import SIZES, Size
from lmladder.system import runtime

WARM_UP = 3  # steps that are not timed
# A worker is this file again; where these are imported before lmladder, nothing is pinned.
FREE_FIRST = """
import numba, numpy, runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0], None, "__main__")
"""


class Worker:
    """A process that takes a few steps whenever it is asked to."""

    def __init__(self, config: str, steps: int, *, pinned: bool) -> None:
        pins = runtime.ONE_BLAS_THREAD | runtime.AVX2_EVERYWHERE
        environment = {name: value for name, value in os.environ.items() if name not in pins}
        kept = str(runtime.MALLOC_THRESHOLD)
        environment |= {"MALLOC_MMAP_THRESHOLD_": kept, "MALLOC_TRIM_THRESHOLD_": kept}
        program = [__file__] if pinned else ["-c", FREE_FIRST, __file__]
        self.process = subprocess.Popen(
            [sys.executable, *program, "--config", config, "--worker", str(steps)],
            env=environment | runtime.ONE_BLAS_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ready = self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def turn(self) -> Any:
        """Seconds of processor time of each of its next steps, and their losses."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def work(size: Size, steps: int) -> None:
    """Be a worker: take `steps` steps for each line that comes, and tell their times."""
    from benchmarks.engines import ours
    from lmladder import kernels
    from lmladder.system import environment

    kernels.set_threads(1)
    weights = {name: each.value for name, each in ours.new_model(size).parameters().items()}
    step, batches = ours.trainer(size, weights), size.batches()
    for number in range(WARM_UP):
        step(batches[number % len(batches)])
    print(json.dumps(environment.describe(kernels.describe())["blas"]["kernels"]), flush=True)
    numbers = itertools.count(WARM_UP)
    for _ in sys.stdin:
        seconds, losses = [], []
        for number in itertools.islice(numbers, steps):
            before = time.process_time()
            losses.append(step(batches[number % len(batches)]))
            seconds.append(time.process_time() - before)
        print(json.dumps({"seconds": seconds, "losses": losses}), flush=True)


def compare(config: str, *, steps: int, seconds: float) -> Facts:
    """Turns of both workers till they have used so many seconds of processor time."""
    if not runtime.has_avx2():
        raise measure.UnavailableError("nothing is pinned here: no Linux, or no AVX2")
    workers = {pinned: Worker(config, steps, pinned=pinned) for pinned in (True, False)}
    times: dict[bool, list[float]] = {True: [], False: []}
    losses: dict[bool, list[float]] = {True: [], False: []}
    others = measure.OtherPrograms()
    started = time.perf_counter()
    while sum(map(sum, times.values())) < seconds or not times[True]:
        for pinned, worker in workers.items():
            done = worker.turn()
            times[pinned] += done["seconds"]
            losses[pinned] += done["losses"]
    own = sum(map(sum, times.values())) / (time.perf_counter() - started)
    busy = others.cores()
    for worker in workers.values():
        worker.end()
    least, middle = (
        {pinned: how(each) for pinned, each in times.items()} for how in (min, statistics.median)
    )
    return {
        "config": config,
        "steps": len(times[True]),
        "pinned_ms": round(least[True] * 1e3, 3),
        "free_ms": round(least[False] * 1e3, 3),
        "percent": round(100 * (least[True] / least[False] - 1), 1),
        "median_percent": round(100 * (middle[True] / middle[False] - 1), 1),
        "free_kernels": workers[False].ready,
        "same_losses": losses[True] == losses[False],
        "others_cores": None if busy is None else round(max(0.0, busy - own), 2),
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--config", choices=SIZES, default="nano")
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--seconds", type=float, default=20.0, help="of processor time, of both")
    parser.add_argument("--worker", type=int, default=None, metavar="STEPS", help="be one of them")
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(SIZES[arguments.config], arguments.worker)
    else:
        facts = compare(arguments.config, steps=arguments.steps, seconds=arguments.seconds)
        print(json.dumps(facts))


if __name__ == "__main__":
    measure.run(main)
