"""The `lmladder` command: what one does with a checkpoint once it is trained."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from lmladder.errors import InputError, LadderError

import typer

# Typer brings a copy of Click of its own, whose base of all usage errors it does not export.
ClickException: Any = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)

DEFAULT_PROMPT = "Once upon a time"
DEFAULT_CHECKPOINT = Path("outputs/transformer/checkpoint.safetensors")

app = typer.Typer(
    help="A ladder of language models on one text: use what the pipeline has trained.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def root() -> None:
    """Commands have names of their own even while there is only one."""


@app.command()
def sample(
    prompt: Annotated[
        str | None,
        typer.Option(help=f"Text to continue. [default: {DEFAULT_PROMPT!r}, if its text knows it]"),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens to add.")] = 300,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Below 1 plays safe; 0 always takes the likeliest.")
    ] = 0.8,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Only the k likeliest tokens. [default: all]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same text.")] = 0,
    checkpoint: Annotated[
        Path, typer.Option(help="Any rung's checkpoint.safetensors.")
    ] = DEFAULT_CHECKPOINT,
    model: Annotated[
        str | None,
        typer.Option(help="Which of several models in one file. [default: the strongest]"),
    ] = None,
) -> None:
    """Continue a prompt, printing each token as it is chosen.

    Example: lmladder sample --prompt "Once upon a time" --tokens 300 --top-k 40 --seed 1
    """
    from lmladder.checkpoint import Checkpoint
    from lmladder.sampling import Strategy, generate

    if checkpoint == DEFAULT_CHECKPOINT and not checkpoint.exists():
        raise InputError(f"there is no {checkpoint} yet; train it with: dvc repro")
    loaded = Checkpoint.load(checkpoint)
    tokenizer = loaded.restore_tokenizer()
    models = loaded.restore_models()
    name = model or list(models)[-1]
    if name not in models:
        raise InputError(f"no model {name!r} in {checkpoint}; choose from {', '.join(models)}")
    try:
        ids = [
            int(token) for token in tokenizer.encode(DEFAULT_PROMPT if prompt is None else prompt)
        ]
    except InputError:
        if prompt is not None:
            raise
        ids = [0]  # a text in another alphabet; its first character, often the end of a line
    made = generate(
        models[name], ids, tokens=tokens, strategy=Strategy(temperature, top_k), seed=seed
    )
    shown = tokenizer.decode(ids)
    print(shown, end="", flush=True)
    for token in made:
        ids.append(token)
        text = tokenizer.decode(ids)
        if not text.endswith("\ufffd"):  # else the first bytes of a character; the rest may come
            print(text[len(shown) :], end="", flush=True)
            shown = text
    print(tokenizer.decode(ids)[len(shown) :])


def main() -> None:
    """Run a command; a user's mistake ends in one line and exit status 2."""
    try:
        status = app(standalone_mode=False)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except ClickException as error:
        if message := error.format_message():  # none where help has been shown instead
            print(f"error: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        print(f"error: cannot write: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the exit try
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
