"""The loop that `lmladder try` replaces: keep a change if one run of it has a lower loss.

    python benchmarks/greedy.py mlp.activation=relu mlp.embedding_size=64 ... [hydra/launcher=local]

Each change is added to those that were kept before, trained once with seed 0, and kept if its
validation loss is lower. Afterwards each kept change is measured with new seeds on fresh text.
"""

import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from lmladder.data import Prepared
from lmladder.data.tales import Grammar
from lmladder.experiments.trials import estimate
from lmladder.pipeline.sweeps import OUTPUTS
from lmladder.pipeline.trying import fresh_losses, questions

SEEDS = range(1, 4)  # of the measurement


def main() -> None:
    text = Prepared.open(OUTPUTS / "prepare")
    grammar = Grammar(text.corpus.grammar)
    folder = TemporaryDirectory()
    file = Path(folder.name, "validation.txt")
    file.write_text(text.tokenizer.decode(text.val), encoding="utf-8")
    launcher = [each for each in sys.argv[1:] if each.startswith("hydra")]
    changes = [each for each in sys.argv[1:] if each not in launcher]
    ((base, _),) = questions([changes[0], *launcher], [], None, "")
    base.train([0])
    kept, best = [base], float(base.nats(0, file).mean())
    print(f"base: validation {best:.4f}")
    claims = []
    for change in changes:
        side = replace(base, overrides=(*kept[-1].overrides, change))
        side.train([0])
        loss = float(side.nats(0, file).mean())
        print(f"{change}: validation {loss - best:+.4f} {'kept' if loss < best else ''}")
        if loss < best:
            kept.append(side)
            claims.append(loss - best)
            best = loss
    for side in kept:
        side.train(SEEDS)
    for before, after, claim in zip(kept, kept[1:], claims, strict=False):
        differences, _ = fresh_losses(before, after, SEEDS, grammar, 2**40)
        print(f"{after.overrides[-1]}: claimed {claim:+.4f}, fresh {estimate(differences)}")
    differences, excess = fresh_losses(kept[0], kept[-1], SEEDS, grammar, 2**40)
    print(f"all: claimed {sum(claims):+.4f}, fresh {fmean(differences):+.4f} of {excess:.4f}")


if __name__ == "__main__":
    main()
