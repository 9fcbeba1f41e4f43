"""Folders of runs as the stages write them, without the training."""

import hashlib
import json
import math
from pathlib import Path

from lmladder.evaluation import BlockLosses
from lmladder.system.streams import stream
from lmladder.training import history

import yaml
from safetensors.numpy import save_file

BLOCKS = 128
TOKENS = 128  # of a block
DATA = "0" * 64
BASE = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
HARDNESS = stream(0, "hardness of blocks").normal(0, 0.1, BLOCKS)


def block_scores(nats, name, *, data=DATA, blocks=BLOCKS, noise=0.01, model="transformer"):
    """Return blocks with a mean of `nats` per token; the same blocks are hard under every name."""
    own = stream(0, name).normal(0, noise, blocks)
    each = (own + HARDNESS[:blocks] - (own + HARDNESS[:blocks]).mean() + nats) * TOKENS
    first = range(1, blocks * TOKENS, TOKENS)
    return BlockLosses(data, tuple(first), (TOKENS,) * blocks, {model: each})


def write_settings(folder, settings):
    """Write .hydra/config.yaml: `settings` by dotted key, over params.yaml."""
    config = json.loads(json.dumps(BASE))
    for key, value in settings.items():
        *path, leaf = key.split(".")
        node = config
        for name in path:
            node = node[name]
        node[leaf] = value
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return config


def write_checkpoint(folder, rung, config, nats, *, data=DATA):
    """Write the header of a checkpoint without arrays, and its history.csv."""
    rows = [
        {"step": 0, "tokens": 0, "val_loss": 9.0},
        {"step": 9, "tokens": 99, "val_loss": nats, "train_loss": nats},
    ]
    kind = config[rung]["kind"]
    header = {"name": kind, "kind": kind, "config": config[rung], "seed": config["seed"]}
    header |= {"step": 9, "data_digest": data, "history": rows}
    path = folder / "checkpoint.safetensors"
    save_file({}, path, metadata={"lmladder": json.dumps(header)})
    (folder / "history.csv").write_text(history.as_csv(rows, history.COLUMNS))


def _digests(folder, algorithm):
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return {path.name: hashlib.new(algorithm, path.read_bytes()).hexdigest() for path in files}


def write_finished(folder):
    """Write the record of a finished job of a sweep."""
    (folder / "finished.json").write_text(json.dumps({"files": _digests(folder, "sha256")}))


def write_lock(folder, **settings):
    """Write dvc.lock above `outputs/<stage>`."""
    names = _digests(folder, "md5").items()
    outs = [{"path": f"outputs/{folder.name}/{name}", "md5": md5} for name, md5 in names]
    recorded = {"prepare": {}, folder.name: {"seed": 0} | settings}
    stages = {name: {"params": {"params.yaml": each}} for name, each in recorded.items()}
    stages[folder.name]["outs"] = outs
    (folder.parent.parent / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))


def write_run(folder, nats, *, blocks=True, rung="transformer", numpy="2.4.0", **settings):
    """Write the folder of a rung with a validation loss; `settings` have __ for dots."""
    folder = Path(folder)
    config = write_settings(folder, {k.replace("__", "."): v for k, v in settings.items()})
    kind = config[rung]["kind"]
    metrics = {"model": kind, "kind": kind, "rung": rung, "steps": 9}
    metrics |= dict.fromkeys(("train_loss", "val_loss", "best_val_loss"), round(nats, 6))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    packages = {"numpy": numpy, "numba": "0.63"}
    (folder / "machine.json").write_text(json.dumps({"environment": {"packages": packages}}))
    (folder / "samples.txt").write_text("Once upon a time")
    if blocks:
        made = block_scores(nats, folder.name, model=kind) if blocks is True else blocks
        (folder / "block_losses.csv").write_text(made.to_csv())
    data = blocks.data if isinstance(blocks, BlockLosses) else DATA
    write_checkpoint(folder, rung, config, nats, data=data)
    return folder


COUNTED = ("uniform", "unigram", "bigram", "trigram")


def write_ladder(folder, nats, *, tokens=BLOCKS * TOKENS, n_bytes=None, blocks=None):
    """Write perplexity.csv of models, by nats per token; one of them may be the oracle."""
    n_bytes = n_bytes or tokens
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["model,kind,rung,split,tokens,bytes,nats_per_token,perplexity,bits_per_byte"]
    for model, value in nats.items():
        kind, rung = ("counts", "bigram") if model in COUNTED else (model, model)
        bits = value * tokens / n_bytes / math.log(2)
        numbers = f"{value:.6f},{math.exp(value):.6f},{bits:.6f}"
        lines.append(f"{model},{kind},{rung},val,{tokens},{n_bytes},{numbers}")
        lines.append(f"{model},{kind},{rung},test,{tokens},{n_bytes},9.0,9.0,9.0")
    (folder / "perplexity.csv").write_text("\n".join(lines) + "\n")
    if blocks is not None:
        (folder / "block_losses.csv").write_text(blocks.to_csv())
    return folder
