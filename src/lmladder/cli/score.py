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
    from collections.abc import Mapping

    from lmladder.data import Tokenizer
    from lmladder.evaluation import Score
    from lmladder.system.arrays import FloatArray, IntArray

BATCH_TOKENS = 8192  # scored at a time, as evaluate.batch_tokens in conf/
MAX_COLORED = 250_000  # tokens; browsers are slow with larger pages
STDIN = "-"


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
    from lmladder.models import restore_models
    from lmladder import reports
    from lmladder.evaluation import Score, token_nll
    from lmladder.evaluation.inspection import pieces
    from lmladder.models.contract import own_tokenizer
    from lmladder.system.files import atomic_write
    from lmladder.system.progress import CountingProgress

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
    before = _context(tokenizer, context)
    n_bytes = tokenizer.n_bytes(tokens)
    if n_bytes == 0:
        raise InputError(f"{source} has only unknown words; there is nothing to score")
    if output is not None and len(tokens) > MAX_COLORED:
        raise InputError(
            f"{source} has {len(tokens):,} tokens; a page shows at most {MAX_COLORED:,}"
        )
    with CountingProgress("score", "tokens", len(models) * len(tokens)) as progress:
        nats = {
            name: token_nll(
                each,
                tokens,
                before,
                min_context=min_context,
                batch_tokens=BATCH_TOKENS,
                advance=progress.advance,
            )
            for name, each in models.items()
        }
    scores = {name: Score(len(tokens), n_bytes, float(each.sum())) for name, each in nats.items()}
    for name, each in scores.items():
        if not math.isfinite(each.nats):
            raise RunError(f"the loss of {name} is not finite; its weights are damaged")
    if output is not None:
        text_pieces = pieces(tokenizer, tokens, nats[strongest])
        page = reports.render_surprisal(strongest, scores[strongest], text_pieces)
        atomic_write(output, page.encode())
    if as_json:
        values: dict[str, Any] = {"models": {name: _values(each) for name, each in scores.items()}}
        if per_token:
            values["tokens"] = [
                {"id": int(token), "text": tokenizer.decode([token])} for token in tokens
            ]
            values["nats"] = {name: each.tolist() for name, each in nats.items()}
        print(json.dumps(values, indent=None if per_token else 2))
    else:
        if per_token:
            _print_tokens(tokenizer, tokens, nats)
        _print_scores(scores)
    if output is not None:
        say(f"page: {output}")


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
    perplexity = score.perplexity
    return {
        "tokens": score.tokens,
        "bytes": score.bytes,
        "nats": score.nats,
        "nats_per_token": score.nats_per_token,
        "perplexity": perplexity if math.isfinite(perplexity) else None,
        "bits_per_byte": score.bits_per_byte,
    }


def _print_tokens(tokenizer: Tokenizer, tokens: IntArray, nats: Mapping[str, FloatArray]) -> None:
    """Print a line for each token: its loss under each model, its id, and its text, quoted."""
    widths = [max(len(name), 9) for name in nats]
    heads = [f"{name:>{width}}" for name, width in zip(nats, widths, strict=True)]
    print("  ".join([*heads, f"{'id':>6}", "token"]))
    for index, token in enumerate(tokens):
        losses = [
            f"{each[index]:{width}.6f}" for each, width in zip(nats.values(), widths, strict=True)
        ]
        print("  ".join([*losses, f"{token:6}", repr(tokenizer.decode([token]))]))
    print()


def _print_scores(scores: Mapping[str, Score]) -> None:
    """Print a line for each model, with the decimals of perplexity.csv."""
    width = max(map(len, ["model", *scores]))
    names = ("tokens", "bytes", "nats_per_token", "perplexity", "bits_per_byte")
    print("  ".join([f"{'model':{width}}", *(f"{name:>9}" for name in names)]))
    for name, score in scores.items():
        rates = (f"{score.nats_per_token:14.6f}", f"{score.perplexity:10.6f}")
        cells = [f"{score.tokens:9}", f"{score.bytes:9}", *rates, f"{score.bits_per_byte:13.6f}"]
        print("  ".join([f"{name:{width}}", *cells]))
