"""How fast a model writes: tokens a second at batch 1, each one drawn and fed back.

    python benchmarks/generate.py --config small --engine torch --no-cache

prints one JSON line. Both engines start from the same untrained weights and one token, and move
their window on by half a context when the text outgrows it. lmladder writes through its public
loop, `lmladder.sampling.generate`; PyTorch through an eager loop of its own, with the keys and
values of earlier tokens kept (--cache) or computed again for every token (--no-cache).
"""

import json
import statistics
import sys
from argparse import BooleanOptionalAction
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import engines, measure
from benchmarks.measure import Facts, UnavailableError
from benchmarks.shapes import SIZES, Size

FIRST = 16  # tokens that are shown, to be compared between engines at temperature 0


def measure_generation(
    name: str,
    size: Size,
    *,
    cache: bool | None,
    tokens: int,
    temperature: float,
    threads: int,
    seconds: float,
) -> Facts:
    """What one engine writes and how fast, in this process."""
    engine = engines.load(name, threads)
    if engine.generator is None:
        raise UnavailableError(f"engine {name!r} cannot generate")
    generate = engine.generator(size, engines.initial_weights(size), cache)
    text: list[int] = []

    def write() -> None:
        text[:] = generate([0], tokens=tokens, temperature=temperature)

    write()
    taken = measure.repeated(write, seconds=seconds)
    return {
        "engine": name,
        "version": engine.version,
        "threads": threads,
        "cache": cache,
        "tokens": tokens,
        "tokens_per_second": round(tokens / min(taken), 1),
        "median_tokens_per_second": round(tokens / statistics.median(taken), 1),
        "text": text[:FIRST],
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--config", choices=SIZES, default="small")
    parser.add_argument("--engine", choices=engines.ENGINES, default="lmladder")
    parser.add_argument(
        "--cache",
        action=BooleanOptionalAction,
        help="keep keys and values; default: what the engine does of itself",
    )
    parser.add_argument("--tokens", type=int, help="default: twice the context")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    size = SIZES[arguments.config]
    facts = measure_generation(
        arguments.engine,
        size,
        cache=arguments.cache,
        tokens=arguments.tokens or 2 * size.context,
        temperature=arguments.temperature,
        threads=arguments.threads,
        seconds=arguments.seconds,
    )
    print(json.dumps({"config": arguments.config, **facts}))


if __name__ == "__main__":
    measure.run(main)
