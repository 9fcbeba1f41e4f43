"""`lmladder inspect`: what a checkpoint contains."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from lmladder.cli.arguments import (
    DEFAULT_CHECKPOINT,
    AsJson,
    CheckpointPath,
    RungModules,
    checkpoint_file,
    open_checkpoint,
    open_models,
)
from lmladder.system.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lmladder.system.arrays import Array


def inspect(
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
    as_json: AsJson = False,
    modules: RungModules = None,
) -> None:
    """Print what a checkpoint contains, except values and vocabulary.

    Its models and its tokenizer are restored, which checks the file.

    Examples:
        lmladder inspect
        lmladder inspect outputs/bigram --json
    """
    from lmladder.system.settings import as_override, dotted

    loaded, (models, _) = open_checkpoint(checkpoint), open_models(checkpoint, None)
    facts = {
        "kind": loaded.kind,
        "file_bytes": checkpoint_file(checkpoint).stat().st_size,
        "models": {name: model.n_parameters for name, model in models.items()},
        "config": loaded.config,
        "tokenizer": loaded.tokenizer["name"],
        "vocabulary_size": loaded.vocabulary_size,
        "seed": loaded.seed,
        "step": loaded.step,
        "last": loaded.history[-1] if loaded.history else None,
        "best": min(loaded.history, key=lambda row: row["val_loss"], default=None),
        "data_sha256": loaded.data_digest,
        "optimizer_bytes": sum(array.nbytes for array in loaded.optimizer.values()),
    }
    if as_json:
        arrays = {
            name: {"shape": array.shape, "elements": array.size, "bytes": array.nbytes}
            for name, array in loaded.model.items()
        }
        print(json.dumps({**facts, "arrays": arrays}, indent=2))
        return
    lines = [*dotted(facts).items(), *_arrays(loaded.model)]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(printable(f"{name:{width}}  {as_override(value)}"))


def _arrays(arrays: Mapping[str, Array]) -> Iterator[tuple[str, str]]:
    """Yield the names and shapes of arrays; those of equal layers together."""
    groups: dict[tuple[str, str], int] = {}
    for name, array in arrays.items():
        each = re.sub(r"\.\d+\.", ".*.", name), " x ".join(map(str, array.shape))
        groups[each] = groups.get(each, 0) + 1
    for (pattern, shape), count in groups.items():
        yield f"arrays.{pattern}", f"{shape} ({count} arrays)" if count > 1 else shape
