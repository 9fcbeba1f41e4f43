"""Folders of runs as the stages write them, without the training."""

import json
import math
from pathlib import Path

from lmladder.evaluation import Record, ScoredModel, Scores
from lmladder.system.streams import stream

import yaml

BLOCKS = 128
TOKENS = 128  # of a block
DATA = "0" * 64
BASE = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
HARDNESS = stream(0, "hardness of blocks").normal(0, 0.1, BLOCKS)
COUNTED = ("uniform", "unigram", "bigram", "trigram")


def block_losses(nats, name, blocks=BLOCKS):
    """Return losses with a mean of `nats` per token; the same blocks are hard under every name."""
    each = stream(0, name).normal(0, 0.01, blocks) + HARDNESS[:blocks]
    return tuple(((each - each.mean() + nats) * TOKENS).tolist())


def write_record(folder, models, *, data=DATA, blocks=BLOCKS, overrides=(), seed=0, **settings):
    """Write scores.json; `settings` have __ for dots."""
    config = json.loads(json.dumps(BASE))
    for key, value in settings.items():
        *path, leaf = key.split("__")
        node = config
        for name in path:
            node = node[name]
        node[leaf] = value
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    Record(
        settings=config,
        seed=seed,
        overrides=tuple(overrides),
        digest=data,
        first=tuple(range(1, blocks * TOKENS, TOKENS)),
        lengths=(TOKENS,) * blocks,
        models=tuple(models),
    ).save(folder)
    return folder


def write_run(folder, nats, *, blocks=BLOCKS, losses=True, **how):
    """Write the record of a Transformer with a validation loss."""
    folder = Path(folder)
    made = block_losses(nats, folder.name, blocks) if losses else ()
    scores = Scores(val_loss=nats)
    names = dict.fromkeys(("name", "kind", "rung"), "transformer")
    model = ScoredModel(**names, deterministic=False, scores=scores, losses=made)
    return write_record(folder, [model], blocks=blocks, **how)


def write_ladder(folder, nats, *, n_bytes=BLOCKS * TOKENS, audit="", **how):
    """Write the record of a ladder of models, by nats per token."""
    models = []
    for name, value in nats.items():
        counted = name in COUNTED
        bits = value * BLOCKS * TOKENS / n_bytes / math.log(2)
        scores = {"bits_per_byte": bits, "nats_per_token": value, "perplexity": math.exp(value)}
        models.append(
            ScoredModel(
                name=name,
                kind="counts" if counted else name,
                rung="bigram" if counted else name,
                deterministic=counted,
                scores=Scores(**scores),
                losses=block_losses(value, name),
                tokens=BLOCKS * TOKENS,
                bytes=n_bytes,
                audit=audit,
            )
        )
    return write_record(folder, models, **how)
