"""`lmladder inspect`: what a checkpoint contains."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from lmladder.cli.arguments import (
    DEFAULT_CHECKPOINT,
    AsJson,
    CheckpointPath,
    RungModules,
    checkpoint_file,
    open_checkpoint,
)
from lmladder.system.errors import InputError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lmladder.training.checkpoint import Checkpoint


def inspect(
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
    as_json: AsJson = False,
    modules: RungModules = None,
) -> None:
    """Print what a checkpoint contains.

    Examples:
        lmladder inspect
        lmladder inspect outputs/bigram --json
    """
    loaded = open_checkpoint(checkpoint)
    try:
        facts = _facts(checkpoint, loaded)
        text = json.dumps(facts, indent=2, allow_nan=False)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{checkpoint} has a damaged header: {error}") from error
    if as_json:
        print(text)
        return
    for name, value in _lines(facts):
        print(f"{name:<12}  {printable(value)}".rstrip())
    print()
    for name, value in _array_lines(facts["arrays"]):
        print(f"{value:>14}  {printable(name)}")


def _facts(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the contents of a checkpoint except values and vocabulary, in the types of JSON.

    Its models and its tokenizer are restored, which checks the file.
    """
    from lmladder.models import restore_models

    checkpoint.restore_tokenizer()
    models = restore_models(checkpoint)
    measured = [_measured(row) for row in checkpoint.history]
    known = [row for row in measured if row["val_loss"] is not None]
    return {
        "kind": checkpoint.kind,
        "file_bytes": checkpoint_file(path).stat().st_size,
        "models": {name: model.n_parameters for name, model in models.items()},
        "config": checkpoint.config,
        "tokenizer": checkpoint.tokenizer["name"],
        "vocabulary_size": checkpoint.vocabulary_size,
        "seed": int(checkpoint.seed),
        "step": int(checkpoint.step),
        "last": measured[-1] if measured else None,
        "best": min(known, key=lambda row: row["val_loss"], default=None),
        "data_sha256": str(checkpoint.data_digest),
        "optimizer_bytes": sum(array.nbytes for array in checkpoint.optimizer.values()),
        "arrays": {
            name: {"shape": array.shape, "elements": array.size, "bytes": array.nbytes}
            for name, array in checkpoint.model.items()
        },
    }


def _measured(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the step and losses of a row of the history; a loss that is not finite is None."""
    losses = {name: row.get(name) for name in ("train_loss", "val_loss")}
    finite = {
        name: float(loss) if loss is not None and math.isfinite(loss) else None
        for name, loss in losses.items()
    }
    return {"step": int(row["step"]), **finite}


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from lmladder.system.settings import dotted

    for name in ("kind", "seed", "step", "data_sha256"):
        yield name, str(facts[name])
    yield "tokenizer", f"{facts['tokenizer']}, {facts['vocabulary_size']:,} tokens"
    yield "size", f"{facts['file_bytes']:,} bytes, of the optimizer {facts['optimizer_bytes']:,}"
    for name in ("last", "best"):
        if row := facts[name]:
            losses = [f"{key} {row[key]:.4f}" for key in ("train_loss", "val_loss") if row[key]]
            yield name, f"{', '.join(losses)} nats per token at step {row['step']:,}"
    for name, count in facts["models"].items():
        yield "model", f"{name}, {count:,} parameters"
    for name, value in dotted(facts["config"]).items():
        yield "setting", f"{name}={value}"


def _array_lines(arrays: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the arrays with the numbers of their elements; those of equal layers in one line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, array in arrays.items():
        shape = " x ".join(map(str, array["shape"]))
        groups.setdefault((re.sub(r"\.\d+\.", ".*.", name), shape), []).append(name)
    for (pattern, shape), names in groups.items():
        count = f" ({len(names)} arrays)" if len(names) > 1 else ""
        yield f"{pattern}  {shape}{count}", f"{sum(arrays[n]['elements'] for n in names):,}"
