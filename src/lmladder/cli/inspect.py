"""`lmladder inspect`: what a checkpoint holds, and pictures of its model at a prompt."""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from lmladder import reports
from lmladder.cli import model_named, open_checkpoint
from lmladder.data import Tokenizer
from lmladder.evaluation.inspection import Part, attention_maps, likeliest_next, parts
from lmladder.models import LanguageModel
from lmladder.models.registry import KINDS
from lmladder.nn import Module
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write
from lmladder.training.checkpoint import Checkpoint

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 120  # columns, where there is no terminal to ask
MAX_MAPPED = 64  # tokens of a prompt whose maps can still be looked at
BARS = 12


def draw_attention(path: Path, prompt: str, output: Path, *, model: str | None) -> None:
    """Draw to a file, .svg or .png, how each head of a model looks back in a prompt."""
    tokenizer, chosen = _open(path, model)
    tokens = tokenizer.encode(prompt)
    if len(tokens) > MAX_MAPPED:
        raise InputError(f"{len(tokens)} tokens; a picture shows at most {MAX_MAPPED}")
    maps = attention_maps(chosen, tokens)
    picture = reports.attention_picture(maps, reports.token_labels(tokenizer, tokens))
    atomic_write(output, reports.encoded(picture, output))


def draw_next(path: Path, prompt: str, output: Path, *, model: str | None) -> None:
    """Draw to a file, .svg or .png, the tokens that a model expects after a prompt."""
    tokenizer, chosen = _open(path, model)
    likeliest, probabilities = likeliest_next(chosen, tokenizer.encode(prompt), BARS)
    picture = reports.next_picture(
        prompt,
        reports.token_labels(tokenizer, likeliest),
        probabilities,
        others=tokenizer.vocabulary_size - len(likeliest),
    )
    atomic_write(output, reports.encoded(picture, output))


def _open(path: Path, model: str | None) -> tuple[Tokenizer, LanguageModel]:
    """The tokenizer of a checkpoint, and the model of that name, or else the strongest."""
    checkpoint = open_checkpoint(path)
    tokenizer = checkpoint.restore_tokenizer()
    models = checkpoint.restore_models()
    return tokenizer, model_named(model or list(models)[-1], models, path)


def tell(path: Path, *, as_json: bool) -> None:
    """Print what the checkpoint holds, having restored its models as a proof that it is whole."""
    checkpoint = open_checkpoint(path)
    checkpoint.restore_tokenizer()
    models = checkpoint.restore_models()
    tree = parts(checkpoint.kind, _ordered(checkpoint, models))
    try:
        facts = _facts(path, checkpoint, models, tree)
        text = json.dumps(facts, indent=2, allow_nan=False)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} has a damaged header: {error}") from error
    if as_json:
        print(text)
    else:
        _print(facts, tree)


def _facts(
    path: Path, checkpoint: Checkpoint, models: Mapping[str, LanguageModel], tree: Part
) -> dict[str, Any]:
    """All that the file tells, but for arrays and characters, in the types of JSON."""
    rows = [_scores(row) for row in checkpoint.history]
    return {
        "kind": checkpoint.kind,
        "file_bytes": path.stat().st_size,
        "models": {name: model.n_parameters for name, model in models.items()},
        "architecture": _architecture(checkpoint),
        "config": checkpoint.config,
        "tokenizer": checkpoint.tokenizer["name"],
        "vocabulary_size": checkpoint.vocabulary_size,
        "seed": int(checkpoint.seed),
        "step": int(checkpoint.step),
        "last": rows[-1] if rows else None,
        "best": min(rows, key=_val_nats, default=None),
        "data_sha256": str(checkpoint.data_digest),
        "optimizer_bytes": sum(array.nbytes for array in checkpoint.optimizer.values()),
        "modules": {
            name: {"numbers": part.elements, "bytes": part.bytes, "shape": part.shape}
            for name, part in _flat(tree)
        },
    }


def _architecture(checkpoint: Checkpoint) -> dict[str, Any]:
    """Of the configuration, what decides the shape of the model."""
    names = [each.name for each in fields(KINDS.model_settings(checkpoint.kind))]
    return {name: checkpoint.config[name] for name in names if name in checkpoint.config}


def _scores(row: Mapping[str, Any]) -> dict[str, float | None]:
    """What a line of the history says of the scores; a loss that is not finite is None."""
    losses = {"train_loss": row.get("train_loss"), "val_loss": row["val_loss"]}
    finite = {
        name: float(loss) if loss is not None and math.isfinite(loss) else None
        for name, loss in losses.items()
    }
    return {"step": int(row["step"]), **finite}


def _val_nats(row: Mapping[str, float | None]) -> float:
    return math.inf if row["val_loss"] is None else row["val_loss"]


def _ordered(checkpoint: Checkpoint, models: Mapping[str, LanguageModel]) -> dict[str, Array]:
    """The arrays of the model, in the order in which it is built where it is made of modules."""
    (*_, strongest) = models.values()
    names = strongest.parameters() if isinstance(strongest, Module) else checkpoint.model
    return {name: checkpoint.model[name] for name in names}


def _flat(part: Part, prefix: str = "") -> Iterator[tuple[str, Part]]:
    for each in part.parts:
        yield prefix + each.name, each
        yield from _flat(each, f"{prefix}{each.name}.")


# --- In a terminal --------------------------------------------------------------------------------


def _print(facts: Mapping[str, Any], tree: Part) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _lines(facts):
        grid.add_row(name, Text(value if value.isprintable() else repr(value)))
    sizes = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("part", "arrays"):
        sizes.add_column(title, overflow="fold")
    for title in ("numbers", "size"):
        sizes.add_column(title, justify="right", no_wrap=True)
    for indent, name, part in _modules(tree):
        cells = ("  " * indent + name, _arrays(part), f"{part.elements:,}", decimal(part.bytes))
        sizes.add_row(*map(Text, cells))
    with console.capture() as captured:
        console.print(grid, "", sizes, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "kind", facts["kind"]
    yield "file", decimal(facts["file_bytes"])
    for name in ("models", "architecture"):
        yield name, ", ".join(f"{key} {_number(value)}" for key, value in facts[name].items())
    yield "tokenizer", f"{facts['tokenizer']}, {facts['vocabulary_size']:,} tokens"
    yield "seed", f"{facts['seed']}"
    yield "step", f"{facts['step']:,}"
    for name in ("last", "best"):
        if facts[name]:
            yield name, _told(facts[name])
    yield "data sha256", facts["data_sha256"]
    if facts["optimizer_bytes"]:
        yield "optimizer", f"{decimal(facts['optimizer_bytes'])} of running means"


def _number(value: Any) -> str:
    return f"{value:,}" if type(value) is int else f"{value}"


def _told(row: Mapping[str, float | None]) -> str:
    losses = [
        f"{name} {row[key]:.4f}"
        for name, key in (("train", "train_loss"), ("val", "val_loss"))
        if row[key] is not None
    ]
    return f"{', '.join(losses)} nats per token at step {row['step']:,}"


def _modules(part: Part, indent: int = 0, name: str = "") -> Iterator[tuple[int, str, Part]]:
    """(indent, name, module) of all modules; of those in a list that are alike, the first."""
    yield indent, name or part.name, part
    below = [each for each in part.parts if each.shape is None]
    for _, group in groupby(below, key=_kind):
        first, *others = group
        alike = f"{first.name} to {others[-1].name}, each" if others else first.name
        yield from _modules(first, indent + 1, alike)


def _kind(part: Part) -> Part:
    """What is equal for modules that are alike: in a list their names are but numbers."""
    return replace(part, name="") if part.name.isdigit() else part


def _arrays(part: Part) -> str:
    """The arrays that stand right in a module, with their shapes."""
    return ", ".join(
        f"{each.name} {' × '.join(map(str, each.shape))}"
        for each in part.parts
        if each.shape is not None
    )
