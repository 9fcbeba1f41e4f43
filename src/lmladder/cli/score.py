"""`lmladder score`: how well the models of a checkpoint predict any text."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmladder import reports
from lmladder.cli import model_named, open_checkpoint
from lmladder.data import Tokenizer, read_text, text_from_bytes
from lmladder.evaluation import Score, token_nll
from lmladder.evaluation.inspection import pieces
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError, RunError
from lmladder.system.files import atomic_write

import numpy as np

BATCH_TOKENS = 8192  # scored at a time, as evaluate.batch_tokens in conf/
MAX_COLOURED = 250_000  # tokens; browsers show no larger page with ease
STDIN = "-"


def score_text(
    path: Path,
    file: str | None,
    text: str | None,
    *,
    past: str | None,
    model: str | None,
    min_context: float,
    as_json: bool,
    per_token: bool,
    html: Path | None,
) -> None:
    """Print the scores of a text under the models of the checkpoint at `path`.

    Parameters
    ----------
    file, text : where the text stands, or itself; with neither it is read from the standard input
    past : the file of the text before it; None if the text is the first of its document
    model : one of several in the checkpoint; None for all
    per_token : whether to print each token with its nats
    html : where to write the coloured text, by the strongest model that is scored
    """
    checkpoint = open_checkpoint(path)
    tokenizer = checkpoint.restore_tokenizer()
    models = checkpoint.restore_models()
    if model is not None:
        models = {model: model_named(model, models, path)}
    words, source = _read(file, text)
    tokens = _encode(tokenizer, words, source)
    before = _past(tokenizer, past)
    n_bytes = tokenizer.n_bytes(tokens)
    if n_bytes == 0:
        raise InputError(f"{source} is of unknown words only; there is nothing to score")
    if html is not None and len(tokens) > MAX_COLOURED:
        raise InputError(
            f"{source} has {len(tokens):,} tokens; a page shows at most {MAX_COLOURED:,}"
        )
    nats = {
        name: token_nll(each, tokens, before, min_context=min_context, batch_tokens=BATCH_TOKENS)
        for name, each in models.items()
    }
    for name, each in nats.items():
        if not np.isfinite(each).all():
            raise RunError(f"the nats of {name} are not numbers; its weights are damaged")
    scores = {name: Score(len(tokens), n_bytes, float(each.sum())) for name, each in nats.items()}
    if html is not None:
        strongest = list(models)[-1]
        page = reports.render_surprisal(
            strongest, scores[strongest], pieces(tokenizer, tokens, nats[strongest])
        )
        atomic_write(html, page.encode())
    with np.errstate(over="ignore"):  # a perplexity may be infinite
        if as_json:
            told = {"models": {name: _fields(each) for name, each in scores.items()}}
            more = _token_fields(tokenizer, tokens, nats) if per_token else {}
            print(json.dumps(told | more, indent=None if per_token else 2))
        else:
            if per_token:
                _print_tokens(tokenizer, tokens, nats)
            _print_scores(scores)


def _read(file: str | None, text: str | None) -> tuple[str, str]:
    """The text, and what to call it in messages."""
    if file is not None and text is not None:
        raise InputError("give a file or --text, not both")
    source = "the text"
    if text is None:
        if file is None or file == STDIN:
            text, source = text_from_bytes(sys.stdin.buffer.read()), "the standard input"
        else:
            text, source = read_text(Path(file)), file
    if not text:
        raise InputError(f"{source} is empty; there is nothing to score")
    return text, source


def _encode(tokenizer: Tokenizer, text: str, source: str) -> IntArray:
    try:
        return tokenizer.encode(text)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _past(tokenizer: Tokenizer, past: str | None) -> IntArray:
    """What the first token follows: a text, or the end of a document, or else of a line."""
    if past is not None:
        return _encode(tokenizer, read_text(Path(past)), past)
    if tokenizer.eos is not None:
        return np.array([tokenizer.eos])
    try:
        return tokenizer.encode("\n")
    except InputError:
        return np.zeros(1, np.int64)  # a text in another alphabet; its first character


def _fields(score: Score) -> dict[str, int | float | None]:
    return {
        "tokens": score.tokens,
        "bytes": score.bytes,
        "nats": score.nats,
        "nats_per_token": score.nats_per_token,
        "perplexity": score.perplexity if math.isfinite(score.perplexity) else None,
        "bits_per_byte": score.bits_per_byte,
    }


def _token_fields(
    tokenizer: Tokenizer, tokens: IntArray, nats: Mapping[str, FloatArray]
) -> dict[str, Any]:
    return {
        "tokens": [{"id": int(token), "text": tokenizer.decode([token])} for token in tokens],
        "nats": {name: each.tolist() for name, each in nats.items()},
    }


def _print_tokens(tokenizer: Tokenizer, tokens: IntArray, nats: Mapping[str, FloatArray]) -> None:
    """A line for each token: its nats under each model, its number, and its text, quoted."""
    widths = [max(len(name), 9) for name in nats]
    heads = [f"{name:>{width}}" for name, width in zip(nats, widths, strict=True)]
    print("  ".join([*heads, f"{'id':>6}", "token"]))
    for index, token in enumerate(tokens):
        numbers = [
            f"{each[index]:{width}.6f}" for each, width in zip(nats.values(), widths, strict=True)
        ]
        print("  ".join([*numbers, f"{token:6}", repr(tokenizer.decode([token]))]))
    print()


def _print_scores(scores: Mapping[str, Score]) -> None:
    """A line for each model, with the decimals of perplexity.csv."""
    width = max(map(len, ["model", *scores]))
    names = ("tokens", "bytes", "nats_per_token", "perplexity", "bits_per_byte")
    print("  ".join([f"{'model':{width}}", *(f"{name:>14}" for name in names)]).rstrip())
    for name, score in scores.items():
        rates = (score.nats_per_token, score.perplexity, score.bits_per_byte)
        cells = [f"{score.tokens:14}", f"{score.bytes:14}", *(f"{rate:14.6f}" for rate in rates)]
        print("  ".join([f"{name:{width}}", *cells]))
