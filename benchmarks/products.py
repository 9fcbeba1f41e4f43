"""Our products of float32 matrices beside NumPy's BLAS, one thread each.

    python benchmarks/products.py [--rounds 30] [--of TN]

prints a Markdown table: GFLOP/s of both, the best of all rounds in turns, for the products of a
training step with `rows` tokens and weights of `n` by `m` numbers:

    NN  x @ weight            NT  grad @ weight.T         TN  x.T @ grad
    qk  queries @ keys.T      wv  weights @ values        wg  weights.T @ grad, of 48 heads

BLAS chooses its kernels by the processor, and the order of its additions with them; set
OPENBLAS_CORETYPE=Haswell to compare with those for AVX2.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts
from lmladder.kernels import products
from lmladder.system.arrays import Array
from lmladder.system.streams import stream

import numpy as np

HEADS, QUERIES, HEAD_SIZE = 48, 64, 32
WEIGHTS = (64, 64), (64, 256), (128, 128), (128, 512), (192, 768), (768, 192), (192, 59), (128, 65)
BRIEF = 1e-3  # seconds of one measurement


def draw(*shape: int) -> Array:
    return stream(0, str(shape)).standard_normal(shape, dtype=np.float32)


def operands() -> Iterator[tuple[str, Array, Array]]:
    for rows in (768, 4096):
        for n, m in WEIGHTS:
            x, weight, grad = draw(rows, n), draw(n, m), draw(rows, m)
            yield "NN", x, weight
            yield "NT", grad, weight.T
            yield "TN", x.T, grad
    for keys in (64, 256):
        q, k = draw(HEADS, QUERIES, HEAD_SIZE), draw(HEADS, keys, HEAD_SIZE)
        weights = draw(HEADS, QUERIES, keys)
        yield "qk", q, k.mT
        yield "wv", weights, k
        yield "wg", weights.mT, q


def seconds(work: Callable[[], object], times: int) -> float:
    """Processor time of a call of `work`, the mean of several."""
    start = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - start) / times


def compare(a: Array, b: Array, rounds: int) -> tuple[float, float]:
    """Return the GFLOP/s of BLAS and of our product."""
    out = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
    works = [lambda: np.matmul(a, b, out=out), lambda: products.multiply(a, b, out)]
    times = max(1, int(BRIEF / max(1e-6, *(seconds(work, 2) for work in works))))
    least = [
        min(each)
        for each in zip(
            *([seconds(work, times) for work in works] for _ in range(rounds)), strict=True
        )
    ]
    flops = 2 * out.size * a.shape[-1]
    return flops / least[0] / 1e9, flops / least[1] / 1e9


def main() -> None:
    arguments = measure.parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=30)
    arguments.add_argument("--of", choices=["NN", "NT", "TN", "qk", "wv", "wg"])
    given = arguments.parse_args()
    results: list[Facts] = []
    for name, a, b in operands():
        if given.of in (None, name):
            blas, ours = compare(a, b, given.rounds)
            shape = f"{a.shape[-2]} x {a.shape[-1]} x {b.shape[-1]}"
            facts = {
                "product": name,
                "shape": shape,
                "BLAS": round(blas, 1),
                "ours": round(ours, 1),
            }
            results.append(facts | {"ratio": round(ours / blas, 2)})
    for name in sorted({each["product"] for each in results}):
        ratios = [each["ratio"] for each in results if each["product"] == name]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        facts = dict.fromkeys(results[0]) | {"product": name, "shape": "geometric mean"}
        results.append(facts | {"ratio": round(mean, 2)})
    print(measure.markdown(results))


if __name__ == "__main__":
    measure.run(main)
