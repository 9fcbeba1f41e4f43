"""How fast this machine multiplies big float32 matrices, by NumPy's BLAS: the best of a few runs.

    python benchmarks/matmul_rate.py [--threads 2] [--rows 2048]

prints one JSON line. The rate of a training step is compared with it. BLAS divides the product
among its own threads, because lmladder, which would limit it to one, is not imported.
"""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts


def matmul_rate(threads: int, rows: int, *, seconds: float) -> Facts:
    """GFLOP/s of (rows, rows) times (rows, rows), in a process that has not seen NumPy yet."""
    for library in ("OPENBLAS", "MKL", "BLIS", "OMP", "VECLIB"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)

    import numpy as np

    a, b = np.random.default_rng(0).standard_normal((2, rows, rows), dtype=np.float32)
    out = np.empty_like(a)
    others = measure.OtherPrograms()
    taken = measure.repeated(lambda: np.matmul(a, b, out=out), seconds=seconds)
    return {
        "threads": threads,
        "rows": rows,
        "gflops_per_second": round(2 * rows**3 / min(taken) / 1e9, 1),
        "others_cores": others.cores(),
        "version": f"NumPy {np.__version__}",
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    facts = matmul_rate(arguments.threads, arguments.rows, seconds=arguments.seconds)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
