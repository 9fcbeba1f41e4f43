"""The `lmladder` command: what one does beside the pipeline, such as sampling from a checkpoint."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from lmladder.errors import InputError, LadderError, RunError

import typer

# Typer brings a copy of Click of its own, whose base of all usage errors it does not export.
ClickException: Any = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)

DEFAULT_PROMPT = "Once upon a time"
DEFAULT_CHECKPOINT = Path("outputs/transformer/checkpoint.safetensors")

app = typer.Typer(
    help="A ladder of language models on one text: what one does beside the pipeline.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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
        ids = [tokenizer.boundary or 0]  # a text in another alphabet: begin a new document
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


@app.command()
def gradcheck(
    ops: Annotated[
        list[str] | None, typer.Argument(help="Ops to check. [default: all]", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds draw other numbers.")] = 0,
) -> None:
    """Check the gradient of every op against central differences.

    Each row is an op on arrays of one shape, laid out in memory in four ways, in float64; and again
    in float32, against float64. Ends with status 1 if an op fails.

    Example: lmladder gradcheck softmax layer_norm
    """
    from lmladder.autograd.gradcheck import TOLERANCE
    from lmladder.autograd.selfcheck import TOLERANCE_32, check_op, op_names

    known = op_names()
    if unknown := [name for name in ops or [] if name not in known]:
        raise InputError(f"no op {unknown[0]!r}; choose from {', '.join(known)}")
    width = max(map(len, known))
    print(f"{'op':{width}}  {'rows':>4}  {'float64':>8}  {'float32':>8}")
    print(f"{'allowed below':{width}}  {'':4}  {TOLERANCE:8.0e}  {TOLERANCE_32:8.0e}")
    failed = []
    for name in ops or known:
        verdict = check_op(name, seed=seed)
        mark = "" if verdict.passed else "  WRONG"
        print(
            f"{name:{width}}  {verdict.rows:4}  {verdict.error:8.0e}  {verdict.error_32:8.0e}{mark}"
        )
        if not verdict.passed:
            failed.append(f"{name} ({verdict.failure})" if verdict.failure else name)
    if failed:
        raise RunError(f"wrong gradients: {', '.join(failed)}")
    print("all gradients are those that differences show")


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
