"""`lmladder score`: how well the models of a checkpoint predict any text."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lmladder.cli.arguments import (
    DEFAULT_CHECKPOINT,
    AsJson,
    CheckpointPath,
    RungModules,
    open_models,
    output_option,
    require_suffix,
)
from lmladder.system.errors import InputError, RunError
from lmladder.system.messages import say

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lmladder.data import Tokenizer
    from lmladder.evaluation import Score
    from lmladder.system.arrays import IntArray

STDIN = "-"
COLUMNS = ("tokens", "bytes", "nats_per_token", "perplexity", "bits_per_byte")  # of a `Score`

FILE = typer.Argument(help="The text; - or nothing for the standard input.", show_default=False)
TEXT = typer.Option(help="The text itself, instead of a file.")
CONTEXT = typer.Option(help="A file with the preceding text. [default: the text begins a document]")
MODEL = typer.Option(help="Which model of the checkpoint. [default: all]")
MIN_CONTEXT = typer.Option(
    min=0.0, max=0.99, help="Smallest fraction of the context that tokens of later windows see."
)
PER_TOKEN = typer.Option("--per-token", help="Also print the loss of each token.")
OUTPUT = output_option("Write the text, colored by surprisal, to this page, .html.")


def score(
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
    file: Annotated[str | None, FILE] = None,
    text: Annotated[str | None, TEXT] = None,
    context: Annotated[str | None, CONTEXT] = None,
    model: Annotated[str | None, MODEL] = None,
    min_context: Annotated[float, MIN_CONTEXT] = 0.5,
    as_json: AsJson = False,
    per_token: Annotated[bool, PER_TOKEN] = False,
    output: Annotated[Path | None, OUTPUT] = None,
    modules: RungModules = None,
) -> None:
    """Score any text, as the perplexity table does.

    Examples:
        lmladder score --text "Once upon a time"
        lmladder score outputs/bigram --model trigram --text "Once" --per-token
        lmladder score outputs/mlp --text "Once upon a time" -o surprisal.html
    """
    from lmladder.data import read_text
    from lmladder.evaluation import Score, token_nll
    from lmladder.evaluation.inspection import pieces
    from lmladder.evaluation.ladder import READING
    from lmladder.system.files import atomic_write
    from lmladder.system.progress import CountingProgress

    import numpy as np

    require_suffix(output, ".html")
    models, tokenizer = open_models(checkpoint, model)
    tokens = _encode(tokenizer, *_read(file, text))
    before = np.array([tokenizer.first])
    if context is not None:
        before = _encode(tokenizer, read_text(Path(context)), context)
    n_bytes = tokenizer.n_bytes(tokens)
    if n_bytes == 0:
        raise InputError("the text has only unknown words; there is nothing to score")
    options = READING | {"min_context": min_context}
    with CountingProgress("score", "tokens", len(models) * len(tokens)) as progress:
        nats = {
            name: token_nll(each, tokens, before, **options, advance=progress.advance)
            for name, each in models.items()
        }
    scores = {name: Score(len(tokens), n_bytes, float(each.sum())) for name, each in nats.items()}
    for name, each in scores.items():
        if math.isnan(each.nats):
            raise RunError(f"a loss of {name} is not a number; its weights are damaged")
    if output is not None:
        from lmladder.reports.html import render_surprisal

        text_pieces = pieces(tokenizer, tokens, nats[name])
        page = render_surprisal(name, scores[name], text_pieces)
        atomic_write(output, page.encode())
    texts = [tokenizer.decode([token]) for token in tokens] if per_token else []
    if as_json:
        values: dict[str, Any] = {"models": {name: _values(each) for name, each in scores.items()}}
        if per_token:
            pairs = zip(tokens.tolist(), texts, strict=True)
            values["tokens"] = [{"id": token, "text": shown} for token, shown in pairs]
            values["nats"] = {name: each.tolist() for name, each in nats.items()}
        print(json.dumps(values, indent=None if per_token else 2))
    else:
        if per_token:
            _print_table({**nats, "id": tokens, "token": map(repr, texts)})
        columns = {name: [getattr(each, name) for each in scores.values()] for name in COLUMNS}
        _print_table({"model": scores, **columns})
    if output is not None:
        say(f"page: {output}")


def short(value: float) -> str:
    """Return a value with the decimals of perplexity.csv, or in a few digits if it is large."""
    return f"{value:.6f}" if value < 1e7 else f"{value:.6g}"


def _print_table(columns: Mapping[str, Iterable[Any]]) -> None:
    """Print columns under their names."""
    cells = [
        [name, *(short(each) if isinstance(each, float) else str(each) for each in values)]
        for name, values in columns.items()
    ]
    widths = [max(map(len, column)) for column in cells]
    for row in zip(*cells, strict=True):
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))


def _values(score: Score) -> dict[str, int | float | None]:
    """Return the values of a score for JSON, which has no infinity."""
    values = {name: getattr(score, name) for name in (*COLUMNS, "nats")}
    return {name: each if math.isfinite(each) else None for name, each in values.items()}


def _read(file: str | None, text: str | None) -> tuple[str, str]:
    """Return the text, and its name in messages."""
    from lmladder.data import read_text, text_from_bytes

    if file is not None and text is not None:
        raise InputError("give a file or --text, not both")
    source = "the text"
    if text is None:
        if file is None or file == STDIN:
            text, source = text_from_bytes(sys.stdin.buffer.read()), "the standard input"
        else:
            text, source = read_text(Path(file)), file
    if not text:
        raise InputError(f"{source} is empty; name a file after the checkpoint, or give --text")
    return text, source


def _encode(tokenizer: Tokenizer, text: str, source: str) -> IntArray:
    try:
        return tokenizer.encode(text)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
