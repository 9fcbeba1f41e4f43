"""What the parts of a modern Transformer cost: their training steps beside that of GPT-2.

    python benchmarks/modern.py --configs nano small tinylm

prints a Markdown table. The steps of all variants are interleaved in one process, because other
programs disturb times by more than the variants differ by.

    ms          the least of all steps
    ratio       of the ms to those of GPT-2 (layer norm, learned positions, tanh-GELU, biases)
    cpu ratio   the same of the medians of the processor time of all threads, on which other
                programs have less influence
"""

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import engines, measure
from benchmarks.measure import Facts
from benchmarks.shapes import SIZES, Size

PARTS: dict[str, dict[str, Any]] = {
    "rotary": {"positions": "rotary"},
    "rms norm": {"norm": "rmsnorm", "norm_weights": False},
    "relu squared": {"activation": "relu_squared"},
    "qk norm": {"qk_norm": True},
}
MODERN = {key: value for part in PARTS.values() for key, value in part.items()}
VARIANTS = {
    "gpt-2": {},
    **PARTS,
    "modern": MODERN,
    "modern, no biases": {**MODERN, "bias": False},
}


def measure_variants(size: Size, *, threads: int, seconds: float) -> list[Facts]:
    """Return a line of the table for each variant."""
    engines.load("lmladder", threads)
    from benchmarks.engines import ours

    steps = {name: ours.trainer(size, None, **changes) for name, changes in VARIANTS.items()}
    batches = size.batches()
    for step in steps.values():
        for rows in batches[:3]:
            step(rows)
    wall: dict[str, list[float]] = {name: [] for name in steps}
    processor: dict[str, list[float]] = {name: [] for name in steps}

    def each_once() -> None:
        rows = batches[len(wall["gpt-2"]) % len(batches)]
        for name, step in steps.items():
            begun = time.perf_counter(), time.process_time()
            step(rows)
            wall[name].append(time.perf_counter() - begun[0])
            processor[name].append(time.process_time() - begun[1])

    measure.repeated(each_once, seconds=seconds)
    best = {name: min(taken) for name, taken in wall.items()}
    typical = {name: statistics.median(taken) for name, taken in processor.items()}
    return [
        {
            "step": name,
            "ms": round(best[name] * 1e3, 3),
            "ratio": round(best[name] / best["gpt-2"], 3),
            "cpu ratio": round(typical[name] / typical["gpt-2"], 3),
            "steps": len(wall[name]),
        }
        for name in steps
    ]


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--configs", nargs="+", choices=SIZES, default=["nano", "small", "tinylm"])
    parser.add_argument("--seconds", type=float, default=30.0, help="of timed steps a config")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    for config in arguments.configs:
        others = measure.OtherPrograms()
        table = measure_variants(
            SIZES[config], threads=arguments.threads, seconds=arguments.seconds
        )
        print(measure.markdown([{"config": config, **facts} for facts in table]))
        print(f"Load {os.getloadavg()[0]:.1f}; other programs used {others.cores()} cores.\n")


if __name__ == "__main__":
    measure.run(main)
