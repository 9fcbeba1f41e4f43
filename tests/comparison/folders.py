"""Folders of runs as the stages leave them, without the training."""

import json
import math
from pathlib import Path

from lmladder.rng import stream
from lmladder.scoring import BlockNats

import yaml

BLOCKS = 128
TOKENS = 128  # of a block
BASE = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
HARDNESS = stream(0, "hardness of blocks").normal(0, 0.1, BLOCKS)


def block_scores(nats, name, *, data="0" * 64, blocks=BLOCKS, noise=0.01, model="transformer"):
    """Blocks whose mean is `nats` a token; hard ones are hard under every name."""
    own = stream(0, name).normal(0, noise, blocks)
    each = (own + HARDNESS[:blocks] - (own + HARDNESS[:blocks]).mean() + nats) * TOKENS
    first = range(1, blocks * TOKENS, TOKENS)
    return BlockNats(data, tuple(first), (TOKENS,) * blocks, {model: each})


def write_settings(folder, stage, settings):
    """What Hydra leaves: `settings` by dotted key, over params.yaml."""
    config = json.loads(json.dumps(BASE))
    for key, value in settings.items():
        *path, leaf = key.split(".")
        node = config
        for name in path:
            node = node[name]
        node[leaf] = value
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    job = {"hydra": {"job": {"name": stage}}}
    (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump(job))


def write_run(folder, nats, *, blocks=True, stage="transformer", **settings):
    """A Transformer's folder with a loss on validation rows; `settings` have __ for dots."""
    folder = Path(folder)
    write_settings(folder, stage, {k.replace("__", "."): v for k, v in settings.items()})
    (folder / "metrics.json").write_text(json.dumps({"val_nats": round(nats, 6), "steps": 9}))
    if blocks:
        made = block_scores(nats, folder.name) if blocks is True else blocks
        (folder / "block_nats.csv").write_text(made.to_csv())
    return folder


def write_ladder(folder, nats, *, tokens=BLOCKS * TOKENS, n_bytes=None, blocks=None):
    """perplexity.csv of these models, by nats per token; the oracle is one of them."""
    n_bytes = n_bytes or tokens
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "model,split,tokens,bytes,nats_per_token,perplexity,bits_per_byte,parameters,steps,"
        "standard_error"
    ]
    for model, value in nats.items():
        bits = value * tokens / n_bytes / math.log(2)
        numbers = f"{value:.6f},{math.exp(value):.6f},{bits:.6f}"
        lines.append(f"{model},val,{tokens},{n_bytes},{numbers},,,")
        lines.append(f"{model},test,{tokens},{n_bytes},9.0,9.0,9.0,,,")
    (folder / "perplexity.csv").write_text("\n".join(lines) + "\n")
    if blocks is not None:
        (folder / "block_nats.csv").write_text(blocks.to_csv())
    return folder
