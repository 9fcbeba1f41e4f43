"""The `lmladder` command: what one does beside the pipeline, such as sampling from a checkpoint."""

import os
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from lmladder.errors import InputError, LadderError, RunError

import typer

# Typer brings a copy of Click of its own, whose base of all usage errors it does not export.
ClickException: Any = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)

DEFAULT_PROMPT = "Once upon a time"
DEFAULT_TEMPERATURE = 0.8
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
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens to add at most.")] = 300,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Below 1 plays safe; 0 always takes the likeliest. "
            f"[default: {DEFAULT_TEMPERATURE}]",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Only the k likeliest tokens. [default: all]")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Only the likeliest tokens that have this share together. [default: 1]"),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(help="Only tokens with this fraction of the likeliest one's. [default: 0]"),
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1 avoids tokens that were there. [default: 1]")
    ] = None,
    beams: Annotated[
        int | None,
        typer.Option(min=1, help="Search for a likely text with so many beams; draw nothing."),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End before this text; may be given several times.", show_default=False),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="How many; of a search, the best so many.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed draws the same text; sample i has seed + i.")
    ] = 0,
    cache: Annotated[
        bool, typer.Option(help="Keep what was computed of earlier tokens; changes speed only.")
    ] = True,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="A line a sample: prompt, text, tokens, log_probability (nats), finish_reason "
            "(length, stop, boundary).",
        ),
    ] = False,
    checkpoint: Annotated[
        Path, typer.Option(help="Any rung's checkpoint.safetensors.")
    ] = DEFAULT_CHECKPOINT,
    model: Annotated[
        str | None,
        typer.Option(help="Which of several models in one file. [default: the strongest]"),
    ] = None,
) -> None:
    """Continue a prompt, printing each token as it is chosen.

    The penalty comes first, then temperature, top-k, top-p and min-p.

    Example: lmladder sample --prompt "Once upon a time" --tokens 300 --top-k 40 --seed 1

    Example: lmladder sample --top-p 0.9 --stop "." --samples 3 --json

    Example: lmladder sample --beams 4 --tokens 60
    """
    from lmladder.checkpoint import Checkpoint
    from lmladder.sampling import BeamSearch, Strategy, complete

    chosen = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    strategy: Strategy | BeamSearch
    if beams is None:
        strategy = Strategy(**({"temperature": DEFAULT_TEMPERATURE} | given))
    elif given:
        option = next(iter(given)).replace("_", "-")
        raise InputError(f"--beams searches and draws nothing; leave out --{option}")
    else:
        strategy = BeamSearch(beams)
    if checkpoint == DEFAULT_CHECKPOINT and not checkpoint.exists():
        raise InputError(f"there is no {checkpoint} yet; train it with: dvc repro")
    loaded = Checkpoint.load(checkpoint)
    tokenizer = loaded.restore_tokenizer()
    models = loaded.restore_models()
    name = model or list(models)[-1]
    if name not in models:
        raise InputError(f"no model {name!r} in {checkpoint}; choose from {', '.join(models)}")
    try:
        ids = tokenizer.encode(DEFAULT_PROMPT if prompt is None else prompt).tolist()
    except InputError:
        if prompt is not None:
            raise
        ids = [tokenizer.boundary or 0]  # a text in another alphabet: begin a new document
    streamed = samples == 1 and not json
    begun = False

    def show(piece: str) -> None:
        nonlocal begun
        if streamed:
            print(piece if begun else tokenizer.decode(ids) + piece, end="", flush=True)
            begun = True

    made = complete(
        models[name],
        tokenizer,
        ids,
        tokens=tokens,
        strategy=strategy,
        seed=seed,
        samples=samples,
        stop=stop or (),
        cache=cache,
        show=show,
    )
    if json:
        for each in made:
            facts = {
                "prompt": each.prompt,
                "text": each.text,
                "tokens": each.tokens,
                "log_probability": each.log_probability,
                "finish_reason": each.finish_reason,
            }
            print(dumps(facts))
    elif samples > 1:
        texts = (f"== {i} ==\n{each.prompt}{each.text}" for i, each in enumerate(made, 1))
        print("\n\n".join(texts))
    else:
        print()


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


@app.command()
def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs or sweeps, or outputs; all runs below count."),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            help="bits_per_byte, nats_per_token, perplexity (of the whole validation text) or "
            "val_nats (of validation rows). [default: the first that there is]"
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Order lines by this setting, such as transformer.n_layer.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX tabular.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all that is known.")] = False,
) -> None:
    """Compare runs: a line a model and settings, its mean over seeds, its distance to the best.

    A difference has a 95 % interval by paired block bootstrap; a line whose interval includes 0
    gets no rank.

    Example: lmladder compare outputs/sweeps/transformer --by transformer.n_layer
    """
    from lmladder import comparison

    flags = {"csv": csv, "markdown": markdown, "latex": latex, "json": json}
    wanted = [name for name, chosen in flags.items() if chosen]
    if len(wanted) > 1:
        raise InputError(f"--{wanted[0]} and --{wanted[1]} do not go together; choose one")
    found = comparison.find_runs(folders)
    table = comparison.compare(found.runs, metric=metric, by=by, notes=found.notes)
    comparison.print_comparison(table, wanted[0] if wanted else None)


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
