"""`lmladder inspect`: what a checkpoint contains, and figures of its model on a prompt."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import fields, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lmladder.cli.arguments import (
    DEFAULT_CHECKPOINT,
    AsJson,
    CheckpointPath,
    Force,
    RungModules,
    checkpoint_file,
    chosen_model,
    open_checkpoint,
    output_option,
    require_replaceable,
)
from lmladder.system.errors import InputError
from lmladder.system.messages import say

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lmladder.data import Tokenizer
    from lmladder.evaluation.inspection import Part
    from lmladder.models import LanguageModel
    from lmladder.system.arrays import Array
    from lmladder.training.checkpoint import Checkpoint

    from matplotlib.figure import Figure

PIPED_WIDTH = 120  # columns, where the output is not a terminal
MAX_MAPPED = 64  # tokens of a prompt in an attention map
BARS = 12  # tokens in the figure of the next token


def inspect(
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
    as_json: AsJson = False,
    attention: Annotated[
        str | None, typer.Option(help="Draw the attention maps of a Transformer on this prompt.")
    ] = None,
    next_: Annotated[
        str | None, typer.Option("--next", help="Draw the most probable tokens after this prompt.")
    ] = None,
    output: Annotated[Path | None, output_option("The file of the figure, .svg or .png.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Which model of the checkpoint to draw. [default: the strongest]"),
    ] = None,
    force: Force = False,
    modules: RungModules = None,
) -> None:
    """Print what a checkpoint contains, or draw what its model does.

    Examples:
        lmladder inspect
        lmladder inspect --next "Once upon a " -o next.svg
        lmladder inspect --attention "Once upon a time" -o attention.png
    """
    from lmladder import reports
    from lmladder.models.contract import own_tokenizer
    from lmladder.system.files import atomic_write

    require_replaceable(output, force=force)
    if attention is None and next_ is None:
        if output is not None or model is not None:
            raise InputError("--output and --model are for figures: --attention or --next")
        _print_contents(checkpoint, as_json=as_json)
        return
    if attention is not None and next_ is not None:
        raise InputError("give --attention or --next, not both")
    if output is None or as_json:
        raise InputError("--attention and --next need a file, -o FILE, and exclude --json")
    loaded = open_checkpoint(checkpoint)
    models = loaded.restore_models()
    chosen = models[chosen_model(model, models, checkpoint)]
    tokenizer = own_tokenizer(chosen) or loaded.restore_tokenizer()
    if attention is not None:
        figure = _attention(chosen, tokenizer, attention)
    else:
        figure = _next(chosen, tokenizer, next_ or "")
    atomic_write(output, reports.encoded(figure, output))
    say(f"figure: {output}")


def _attention(model: LanguageModel, tokenizer: Tokenizer, prompt: str) -> Figure:
    """Draw the positions to which each head of a model attends in a prompt."""
    from lmladder import reports
    from lmladder.evaluation.inspection import attention_maps

    tokens = tokenizer.encode(prompt)
    if len(tokens) > MAX_MAPPED:
        raise InputError(f"the prompt has {len(tokens)} tokens; a figure shows up to {MAX_MAPPED}")
    maps = attention_maps(model, tokens)
    return reports.attention_figure(maps, reports.token_labels(tokenizer, tokens))


def _next(model: LanguageModel, tokenizer: Tokenizer, prompt: str) -> Figure:
    """Draw the most probable tokens after a prompt."""
    from lmladder import reports
    from lmladder.evaluation.inspection import most_likely_next

    likeliest, probabilities = most_likely_next(model, tokenizer.encode(prompt), BARS)
    others = tokenizer.vocabulary_size - len(likeliest)
    labels = reports.token_labels(tokenizer, likeliest)
    return reports.next_token_figure(prompt, labels, probabilities, others=others)


def _print_contents(path: Path, *, as_json: bool) -> None:
    """Print what a checkpoint contains, after restoring its models, which checks the file."""
    from lmladder.evaluation.inspection import parts

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
        _print_tables(facts, tree)


def _facts(
    path: Path, checkpoint: Checkpoint, models: Mapping[str, LanguageModel], tree: Part
) -> dict[str, Any]:
    """Return the contents of a checkpoint except arrays and vocabulary, in the types of JSON."""
    from lmladder.models.registry import KINDS

    config = checkpoint.config
    shaping = [each.name for each in fields(KINDS.model_settings(checkpoint.kind))]
    measured = [_measured(row) for row in checkpoint.history]
    return {
        "kind": checkpoint.kind,
        "file_bytes": checkpoint_file(path).stat().st_size,
        "models": {name: model.n_parameters for name, model in models.items()},
        "architecture": {name: config[name] for name in shaping if name in config},
        "config": config,
        "tokenizer": checkpoint.tokenizer["name"],
        "vocabulary_size": checkpoint.vocabulary_size,
        "seed": int(checkpoint.seed),
        "step": int(checkpoint.step),
        "last": measured[-1] if measured else None,
        "best": min(
            measured,
            key=lambda row: math.inf if row["val_loss"] is None else row["val_loss"],
            default=None,
        ),
        "data_sha256": str(checkpoint.data_digest),
        "optimizer_bytes": sum(array.nbytes for array in checkpoint.optimizer.values()),
        "modules": {
            name: {"elements": part.elements, "bytes": part.bytes, "shape": part.shape}
            for name, part in _flat(tree)
        },
    }


def _measured(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the step and losses of a row of the history; a loss that is not finite is None."""
    losses = {name: row.get(name) for name in ("train_loss", "val_loss")}
    finite = {
        name: float(loss) if loss is not None and math.isfinite(loss) else None
        for name, loss in losses.items()
    }
    return {"step": int(row["step"]), **finite}


def _ordered(checkpoint: Checkpoint, models: Mapping[str, LanguageModel]) -> dict[str, Array]:
    """Return the arrays of a model, in the order of its modules if it has modules."""
    from lmladder.nn import Module

    (*_, strongest) = models.values()
    names = strongest.parameters() if isinstance(strongest, Module) else checkpoint.model
    return {name: checkpoint.model[name] for name in names}


def _flat(part: Part, prefix: str = "") -> Iterator[tuple[str, Part]]:
    for each in part.parts:
        yield prefix + each.name, each
        yield from _flat(each, f"{prefix}{each.name}.")


# --- In a terminal --------------------------------------------------------------------------------


def _print_tables(facts: Mapping[str, Any], tree: Part) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _lines(facts):
        grid.add_row(name, Text(value if value.isprintable() else repr(value)))
    sizes = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("part", "arrays"):
        sizes.add_column(title, overflow="fold")
    for title in ("elements", "size"):
        sizes.add_column(title, justify="right", no_wrap=True)
    for indent, name, part in _modules(tree):
        arrays = ", ".join(
            f"{each.name} {' × '.join(map(str, each.shape))}"
            for each in part.parts
            if each.shape is not None
        )
        cells = ("  " * indent + name, arrays, f"{part.elements:,}", decimal(part.bytes))
        sizes.add_row(*map(Text, cells))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    with console.capture() as captured:
        console.print(grid, "", sizes, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from rich.filesize import decimal

    yield "kind", facts["kind"]
    yield "file", decimal(facts["file_bytes"])
    for name in ("models", "architecture"):
        values = facts[name].items()
        yield (
            name,
            ", ".join(f"{key} {v:,}" if type(v) is int else f"{key} {v}" for key, v in values),
        )
    yield "tokenizer", f"{facts['tokenizer']}, {facts['vocabulary_size']:,} tokens"
    yield "seed", f"{facts['seed']}"
    yield "step", f"{facts['step']:,}"
    for name in ("last", "best"):
        if row := facts[name]:
            losses = [
                f"{key.removesuffix('_loss')} {row[key]:.4f}"
                for key in ("train_loss", "val_loss")
                if row[key] is not None
            ]
            yield name, f"{', '.join(losses)} nats per token at step {row['step']:,}"
    yield "data sha256", facts["data_sha256"]
    if facts["optimizer_bytes"]:
        yield "optimizer", f"{decimal(facts['optimizer_bytes'])} of running means"


def _modules(part: Part, indent: int = 0, name: str = "") -> Iterator[tuple[int, str, Part]]:
    """Yield (indent, name, module); of equal modules in a list, only the first."""
    yield indent, name or part.name, part
    below = [each for each in part.parts if each.shape is None]
    for _, group in groupby(below, key=_unnumbered):
        first, *others = group
        alike = f"{first.name} to {others[-1].name}, each" if others else first.name
        yield from _modules(first, indent + 1, alike)


def _unnumbered(part: Part) -> Part:
    """Return what is equal for equal modules of a list, whose names are their numbers."""
    return replace(part, name="") if part.name.isdigit() else part
