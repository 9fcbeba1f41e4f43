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
    Force,
    RungModules,
    chosen_model,
    open_checkpoint,
    output_option,
    require_replaceable,
)
from lmladder.system.errors import InputError, RunError
from lmladder.system.messages import say

import typer

if TYPE_CHECKING:
    from lmladder.data import Tokenizer
    from lmladder.evaluation import Score
    from lmladder.system.arrays import IntArray

BATCH_TOKENS = 8192  # scored at a time, as evaluate.batch_tokens in conf/
STDIN = "-"
COLUMNS = ("tokens", "bytes", "nats_per_token", "perplexity", "bits_per_byte")  # of a `Score`


def score(
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
    file: Annotated[
        str | None,
        typer.Argument(help="The text; - or nothing for the standard input.", show_default=False),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text itself, instead of a file.")] = None,
    context: Annotated[
        str | None,
        typer.Option(help="A file with the preceding text. [default: the text begins a document]"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Which model of the checkpoint. [default: all]")
    ] = None,
    min_context: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.99,
            help="Smallest fraction of the context that tokens of later windows see.",
        ),
    ] = 0.5,
    as_json: AsJson = False,
    per_token: Annotated[
        bool, typer.Option("--per-token", help="Also print the loss of each token.")
    ] = False,
    output: Annotated[
        Path | None, output_option("Write the text, colored by surprisal, to this page, .html.")
    ] = None,
    force: Force = False,
    modules: RungModules = None,
) -> None:
    """Score any text, as the perplexity table does.

    Examples:
        lmladder score --text "Once upon a time"
        lmladder score outputs/bigram --model trigram --text "Once" --per-token
        lmladder score outputs/mlp --text "Once upon a time" -o surprisal.html
    """
    from lmladder import reports
    from lmladder.evaluation import Score, token_nll
    from lmladder.evaluation.inspection import pieces
    from lmladder.models import restore_models
    from lmladder.models.contract import own_tokenizer
    from lmladder.system.files import atomic_write
    from lmladder.system.progress import CountingProgress

    import numpy as np

    require_replaceable(output, force=force)
    if checkpoint.is_file() and checkpoint.suffix not in (".safetensors", ".json"):
        raise InputError(
            f"{checkpoint} is not a checkpoint; a checkpoint is the first argument: "
            f"lmladder score {DEFAULT_CHECKPOINT.parent} {checkpoint}"
        )
    loaded = open_checkpoint(checkpoint)
    models = restore_models(loaded)
    strongest = chosen_model(model, models, checkpoint)
    tokenizer = own_tokenizer(models[strongest]) or loaded.restore_tokenizer()
    if model is not None:
        models = {model: models[model]}
    words, source = _read(file, text)
    tokens = _encode(tokenizer, words, source)
    options = {"min_context": min_context, "batch_tokens": BATCH_TOKENS}
    before = _context(tokenizer, context)
    n_bytes = tokenizer.n_bytes(tokens)
    if n_bytes == 0:
        raise InputError(f"{source} has only unknown words; there is nothing to score")
    with CountingProgress("score", "tokens", len(models) * len(tokens)) as progress:
        nats = {
            name: token_nll(each, tokens, before, **options, advance=progress.advance)
            for name, each in models.items()
        }
    scores = {name: Score(len(tokens), n_bytes, float(each.sum())) for name, each in nats.items()}
    for name, losses in nats.items():
        if np.isnan(losses).any():
            raise RunError(f"a loss of {name} is not a number; its weights are damaged")
    if output is not None:
        text_pieces = pieces(tokenizer, tokens, nats[strongest])
        page = reports.render_surprisal(strongest, scores[strongest], text_pieces)
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
            print(*(f"{name:>14}" for name in nats), "    id  token")
            rows = np.stack([*nats.values()], axis=1)
            for row, token, shown in zip(rows, tokens, texts, strict=True):
                print(*(f"{loss:14.6f}" for loss in row), f"{token:6}  {shown!r}")
        print(f"{'model':14}", *(f"{name:>14}" for name in COLUMNS))
        for name, each in scores.items():
            facts = (getattr(each, column) for column in COLUMNS)
            cells = (str(cell) if isinstance(cell, int) else short(cell) for cell in facts)
            print(f"{name:14}", *(f"{cell:>14}" for cell in cells))
    if output is not None:
        say(f"page: {output}")


def short(value: float) -> str:
    """Return a value with the decimals of perplexity.csv, or in a few digits if it is large."""
    return f"{value:.6f}" if value < 1e7 else f"{value:.6g}"


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


def _context(tokenizer: Tokenizer, file: str | None) -> IntArray:
    """Return the tokens before the text: those of a file, or the end of a document or line."""
    from lmladder.data import read_text

    import numpy as np

    if file is not None:
        return _encode(tokenizer, read_text(Path(file)), file)
    if tokenizer.eos is not None:
        return np.array([tokenizer.eos])
    try:
        return tokenizer.encode("\n")
    except InputError:
        return np.zeros(1, np.int64)  # a text in another alphabet; its first character


def _values(score: Score) -> dict[str, int | float | None]:
    """Return the values of a score for JSON, which has no infinity."""
    values = {name: getattr(score, name) for name in (*COLUMNS, "nats")}
    return {name: each if math.isfinite(each) else None for name, each in values.items()}
