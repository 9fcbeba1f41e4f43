"""How fast the count models are fitted and how fast they score, and how well.

    python benchmarks/counts.py [TEXT] [--order 8] [--add-k 1]

Prints one JSON line per member of the ladder. All share one set of count tables, so
`count_seconds` is the same on each line; `fit_seconds` is what the member costs beyond them.
The last tenth of the text is scored. Without TEXT a made one is used: a Markov chain whose steps
follow Zipf's law, and whose entropy is known (`source_nats_per_token`).
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from lmladder.arrays import IntArray
from lmladder.models.counts import CountTables
from lmladder.models.ngram import ADD_K_NAMES, AddK, CountModel, KneserNey, Uniform
from lmladder.rng import stream

import numpy as np

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What `work` returns, and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def count(tokens: IntArray, vocabulary_size: int, order: int) -> CountTables:
    """The tables with all that the members share, so that the first one need not pay for it."""
    tables = CountTables.count(tokens, vocabulary_size, order)
    _ = tables.continuation_counts
    return tables


def zipf_markov_text(length: int, vocabulary_size: int, seed: int) -> tuple[IntArray, float]:
    """A random walk on a ring of tokens: rank r of Zipf's law (p ~ 1 / r) is a step by r.

    Returns the tokens, shape (length,), and the entropy of the source in nats per token.
    """
    steps = np.arange(1, vocabulary_size + 1)
    probabilities = 1 / steps
    probabilities /= probabilities.sum()
    walk = stream(seed, "zipf-markov").choice(steps, size=length, p=probabilities).cumsum()
    return walk % vocabulary_size, float(-(probabilities * np.log(probabilities)).sum())


def characters_of(path: Path) -> tuple[IntArray, int]:
    """The text's characters as tokens, shape (length,), and the size of its alphabet."""
    text = path.read_bytes().decode("utf-8")
    code_points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    alphabet, tokens = np.unique(code_points, return_inverse=True)
    return tokens, len(alphabet)


def fits(tables: CountTables, k: float) -> dict[str, Callable[[], CountModel]]:
    """For each member that the tables suffice for, the call that makes it."""
    members: dict[str, Callable[[], CountModel]] = {
        "uniform": partial(Uniform, tables.vocabulary_size)
    }
    for order, name in enumerate(ADD_K_NAMES[: tables.order], 1):
        members[name] = partial(AddK, tables, order, k)
    for order in range(2, tables.order + 1):
        members[f"kneser_ney_{order}"] = partial(KneserNey, tables, order)
    return members


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and score the count models.")
    parser.add_argument("text", nargs="?", type=Path, help="a UTF-8 text; default: a made one")
    parser.add_argument("--order", type=int, default=8, help="of the longest n-grams")
    parser.add_argument("--add-k", type=float, default=1.0, help="pseudocount of add-k members")
    parser.add_argument("--length", type=int, default=1_000_000, help="of the made text")
    parser.add_argument("--vocabulary-size", type=int, default=64, help="of the made text")
    parser.add_argument("--seed", type=int, default=0, help="of the made text")
    arguments = parser.parse_args()

    about_text: dict[str, object]
    if arguments.text is None:
        vocabulary_size = arguments.vocabulary_size
        tokens, entropy = zipf_markov_text(arguments.length, vocabulary_size, arguments.seed)
        about_text = {"text": "zipf-markov", "source_nats_per_token": round(entropy, 5)}
    else:
        tokens, vocabulary_size = characters_of(arguments.text)
        about_text = {"text": arguments.text.name}

    n_train = int(0.9 * len(tokens))
    tables, count_seconds = timed(
        partial(count, tokens[:n_train], vocabulary_size, arguments.order)
    )
    stored_bytes = sum(array.nbytes for array in tables.arrays().values())
    n_ngrams = sum(tables.size(order) for order in range(1, tables.order + 1))

    # The scored tokens, and before them as many of the training text as any member looks back.
    past = min(max(tables.order - 1, 1), n_train)
    row = tokens[np.newaxis, n_train - past :]
    for name, fit in fits(tables, arguments.add_k).items():
        model, fit_seconds = timed(fit)
        nats, score_seconds = timed(partial(model.nats, row))
        line = {
            "member": name,
            **about_text,
            "train_tokens": n_train,
            "tokens": len(tokens) - n_train,
            "nats_per_token": round(float(nats[0, past - 1 :].mean()), 5),
            "count_seconds": round(count_seconds, 4),
            "fit_seconds": round(fit_seconds, 4),
            "score_seconds": round(score_seconds, 4),
            "ngrams": model.n_parameters,
            "bytes_per_distinct_ngram": round(stored_bytes / n_ngrams, 2),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
