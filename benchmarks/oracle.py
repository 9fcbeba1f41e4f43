"""How fast the oracle reads a text, and whether the losses of its tokens sum to those of stories.

    python benchmarks/oracle.py [--characters 200000] [--grammar data/tales.yaml] [--json]

reports characters a second of one core, with whole distributions; the greatest difference between
the loss of a story and the sum over its characters, in nats; the mean and the greatest number of
partial derivations; and the peak of memory above that of the text.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts
from lmladder.data import CharTokenizer
from lmladder.data.tales import Grammar, generate
from lmladder.evaluation import token_nll
from lmladder.models.oracle import Oracle, arrays_of

import numpy as np


def measured(arguments: argparse.Namespace) -> Facts:
    grammar = Grammar.load(arguments.grammar)
    stories = generate(grammar, 0, arguments.characters)
    text = "".join(f"\n{each.text}" for each in stories) + "\n"
    tokenizer = CharTokenizer("".join(sorted(set(text))))
    tokens = tokenizer.encode(text).astype(np.int64)
    measure.forget_peak()
    base = measure.resident_mib()
    oracle, seconds = measure.timed(
        lambda: Oracle(grammar, arrays_of(grammar.source, tokenizer)["symbols"])
    )
    nats, seconds_of_text = measure.timed(
        lambda: token_nll(oracle, tokens[1:], tokens[:1], min_context=0.5, batch_tokens=8192)
    )
    peak = measure.peak_mib()
    ends = np.cumsum([len(each.text) + 1 for each in stories])
    sums = np.add.reduceat(nats, [0, *ends[:-1]])
    prefixes, sizes = [oracle.beginning], []
    for token in tokens[1:20_000]:
        prefixes = oracle.read(prefixes, np.array([[token]]))
        sizes.append(len(prefixes[0]))
    return {
        "characters": len(nats),
        "characters_per_second": round(len(nats) / seconds_of_text),
        "compile_seconds": round(seconds, 2),
        "worst_difference": max(abs(sums - [each.nll for each in stories])),
        "mean_derivations": round(float(np.mean(sizes)), 2),
        "max_derivations": max(sizes),
        "longest_story": oracle.context_length,
        "peak_mib": measure.above(base, peak),
    }


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--characters", type=int, default=200_000)
    parser.add_argument("--grammar", type=Path, default=measure.FOLDER.parent / "data/tales.yaml")
    measure.add_json_option(parser)
    arguments = parser.parse_args()
    measure.show([measured(arguments)], as_json=arguments.json)


if __name__ == "__main__":
    main()
