"""How fast the count models are fitted and how fast they score, and how well.

    python benchmarks/counts.py [TEXT] [--order 8] [--add-k 1] [--nltk 20000]

Prints one JSON line per member of the ladder. All share one set of count tables, so
`count_seconds` is the same on each line; `fit_seconds` is what the member costs beyond them.
The last tenth of the text is scored. Without TEXT a made one is used: a Markov chain whose steps
follow Zipf's law, and whose entropy is known (`source_nats_per_token`).

With --nltk, NLTK's Kneser-Ney and ours are fitted to the first so many tokens as well, and score
the same tokens after them. NLTK's has one discount, NLTK_DISCOUNT, where ours has three, fitted to
the text, so their nats differ. It is slow: use at most a few ten thousand tokens.
"""

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts, UnavailableError, timed
from lmladder.models.counts import CountTables
from lmladder.models.ngram import ADD_K_NAMES, AddK, CountModel, KneserNey, Uniform
from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream

import numpy as np

NLTK_DISCOUNT = 0.75  # the usual one; NLTK's own default, 0.1, suits no small text


def count(tokens: IntArray, vocabulary_size: int, order: int) -> CountTables:
    """The tables with all that the members share, so that the first one need not pay for it."""
    tables = CountTables.count(tokens, vocabulary_size, order)
    _ = tables.continuation_counts
    return tables


def stored_bytes(tables: CountTables) -> int:
    """What the tables take, in memory and in a file."""
    return sum(array.nbytes for array in tables.arrays().values())


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


def beside_nltk(
    tokens: IntArray, n_scored: int, vocabulary_size: int, order: int
) -> tuple[Facts, Facts]:
    """NLTK's Kneser-Ney and ours, fitted to all tokens but the last `n_scored`.

    Raises
    ------
    UnavailableError
        If NLTK is not installed.
    """
    try:
        nltk_models: Any = import_module("nltk.lm")
        nltk_ngrams: Any = import_module("nltk.util").ngrams
    except ImportError as error:
        raise UnavailableError(f"NLTK is not available: {error}") from error
    known, words = len(tokens) - n_scored, [str(token) for token in tokens]
    peer = nltk_models.KneserNeyInterpolated(order, discount=NLTK_DISCOUNT)

    def fit_peer() -> None:
        text = [gram for n in range(1, order + 1) for gram in nltk_ngrams(words[:known], n)]
        peer.fit([text], [str(token) for token in range(vocabulary_size)])

    def score_peer() -> float:
        logs = [
            math.log(peer.score(words[i], words[max(0, i - order + 1) : i]))
            for i in range(known, len(words))
        ]
        return -math.fsum(logs) / n_scored

    def fit() -> KneserNey:
        return KneserNey(CountTables.count(tokens[:known], vocabulary_size, order), order)

    model, fit_seconds = timed(fit)
    row = tokens[np.newaxis, known - order + 1 :]
    nats, score_seconds = timed(lambda: model.nll(row)[0, order - 2 :].mean())
    _, peer_fit_seconds = timed(fit_peer)
    peer_nats, peer_score_seconds = timed(score_peer)
    about: Facts = {"order": order, "train_tokens": known, "tokens": n_scored}
    return (
        {
            "member": f"kneser_ney_{order}",
            **about,
            "nats_per_token": round(float(nats), 5),
            "fit_seconds": round(fit_seconds, 4),
            "score_seconds": round(score_seconds, 4),
        },
        {
            "member": f"nltk_kneser_ney_{order}",
            **about,
            "nats_per_token": round(peer_nats, 5),
            "fit_seconds": round(peer_fit_seconds, 4),
            "score_seconds": round(peer_score_seconds, 4),
        },
    )


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("text", nargs="?", type=Path, help="a UTF-8 text; default: a made one")
    parser.add_argument("--order", type=int, default=8, help="of the longest n-grams")
    parser.add_argument("--add-k", type=float, default=1.0, help="pseudocount of add-k members")
    parser.add_argument("--length", type=int, default=1_000_000, help="of the made text")
    parser.add_argument("--vocabulary-size", type=int, default=64, help="of the made text")
    parser.add_argument("--seed", type=int, default=0, help="of the made text")
    parser.add_argument("--nltk", type=int, metavar="TOKENS", help="also compare with NLTK")
    parser.add_argument("--nltk-order", type=int, default=3)
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
    n_ngrams = sum(tables.size(order) for order in range(1, tables.order + 1))

    # The scored tokens, and before them as many of the training text as any member looks back.
    past = min(max(tables.order - 1, 1), n_train)
    row = tokens[np.newaxis, n_train - past :]
    for name, fit in fits(tables, arguments.add_k).items():
        model, fit_seconds = timed(fit)
        nats, score_seconds = timed(partial(model.nll, row))
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
            "bytes_per_distinct_ngram": round(stored_bytes(tables) / n_ngrams, 2),
        }
        print(json.dumps(line), flush=True)

    if arguments.nltk:
        n_scored = max(1, arguments.nltk // 10)
        text = tokens[: arguments.nltk + n_scored]
        for facts in beside_nltk(text, n_scored, vocabulary_size, arguments.nltk_order):
            print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    measure.run(main)
