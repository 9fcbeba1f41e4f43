"""The story grammars of data/: their true entropy, and over which distances they name things again.

    python benchmarks/grammars.py

The entropy is exact: the expectation of a story's nats over that of its characters, which depend on
the rules and on which variables are drawn, and not on the items. The other columns are of a sample.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts
from lmladder.data import ByteTokenizer
from lmladder.data.tales import Grammar, Part, generate
from lmladder.models.oracle import Oracle, arrays_of

import numpy as np

DATA = measure.FOLDER.parent / "data"
CHARACTERS = 100_000  # of the sample
Draws: TypeAlias = Mapping[frozenset[str], float]  # the probability of the variables drawn


def expectation(grammar: Grammar) -> tuple[float, float]:
    """Return the expected nats and the expected characters of a story with its newline."""
    nats, characters, _ = _expanded([grammar.start], {frozenset(): 1.0})
    return nats, characters + 1


def _expanded(parts: Iterable[Part], before: Draws) -> tuple[float, float, Draws]:
    """Return the expected nats and characters of parts, and the variables drawn after them."""
    nats = characters = 0.0
    for part in parts:
        after: dict[frozenset[str], float] = {}
        for drawn, probability in before.items():
            count = len(part.options)
            if part.variable is not None:
                taken = sum(each in drawn for each in part.rivals)
                free = 1 if part.variable in drawn else count - taken
                nats += probability * math.log(free)
                lengths = [len(option.text) for option in part.options]
                characters += probability * sum(lengths) / count  # by symmetry of the items
                drawn |= {part.variable}
                after[drawn] = after.get(drawn, 0.0) + probability
                continue
            nats += probability * math.log(count)
            for option in part.options:
                share = {drawn: probability / count}
                more, longer, ends = _expanded(option.parts, share)
                nats, characters = nats + more, characters + longer
                characters += len(option.text) * probability / count
                for end, each in ends.items():
                    after[end] = after.get(end, 0.0) + each
        before = after
    return nats, characters, before


def facts_of(path: Path) -> Facts:
    """Return a row of the table."""
    grammar = Grammar.load(path)
    nats, characters = expectation(grammar)
    stories = generate(grammar, 0, CHARACTERS)
    mentions = [each for story in stories for each in story.mentions]
    recalls = [each for each in mentions if each.before is not None]
    recalled = sum(each.end - each.start for each in recalls)
    distances = [each.start - (each.before or 0) for each in recalls]
    oracle = Oracle(grammar, arrays_of(grammar.source, ByteTokenizer())["symbols"])
    return {
        "data": path.stem,
        "bits per character": f"{nats / characters / math.log(2):.4f}",
        "nats per story": f"{nats:.2f}",
        "characters per story": f"{characters:.1f}",
        "longest": oracle.context_length,
        "recalled": f"{recalled / sum(len(each.text) + 1 for each in stories):.1%}",
        "distance, median": f"{np.median(distances):.0f}",
        "distance, 95%": f"{np.quantile(distances, 0.95):.0f}",
    }


def rows() -> list[Facts]:
    """Return the rows of the table."""
    return [facts_of(path) for path in sorted(DATA.glob("tales*.yaml"))]


if __name__ == "__main__":
    measure.parser(__doc__).parse_args()
    print(measure.markdown(rows()))
