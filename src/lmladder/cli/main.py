"""The `lmladder` command: what one does beside the pipeline, such as sampling from a checkpoint.

Here stand the options of each command; what the larger ones do stands in `commands`.
"""

import os
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from lmladder.system.errors import InputError, LadderError, RunError
from lmladder.system.files import atomic_write

import typer

# Typer brings a copy of Click of its own, whose base of all usage errors it does not export.
ClickException: Any = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)

DEFAULT_PROMPT = "Once upon a time"
DEFAULT_TEMPERATURE = 0.8
DEFAULT_CHECKPOINT = Path("outputs/transformer/checkpoint.safetensors")
DEFAULT_TOLERANCE = 2e-3

app = typer.Typer(
    help="A ladder of language models on one text: what one does beside the pipeline.\n\n"
    "`dvc repro` trains the models; docs/tutorial.md begins at the beginning.\n\n"
    "Example: lmladder sample --tokens 300",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


Force = Annotated[
    bool, typer.Option("--force", help="Replace a file that is there, whatever it holds.")
]

# What the shell completes; each argument's name is one that Typer knows.


def _metrics(incomplete: str) -> list[str]:
    from lmladder.experiments import METRICS

    return [name for name in METRICS if name.startswith(incomplete)]


def _formats(incomplete: str) -> list[str]:
    from lmladder.interop import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


def _ops(incomplete: str) -> list[str]:
    from lmladder.autograd.selfcheck import op_names

    return [name for name in op_names() if name.startswith(incomplete)]


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
    from lmladder.cli import open_checkpoint
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
    loaded = open_checkpoint(checkpoint)
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
        ids = [tokenizer.eos or 0]  # a text in another alphabet: begin a new document
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
def score(
    checkpoint: Annotated[Path, typer.Argument(help="Any rung's checkpoint.safetensors.")],
    file: Annotated[
        str | None,
        typer.Argument(help="The text; - or nothing for the standard input.", show_default=False),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text itself, in place of a file.")] = None,
    past: Annotated[
        str | None,
        typer.Option(help="A file with the text before it. [default: the text begins a document]"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Which of several models in one file. [default: all]")
    ] = None,
    min_context: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Of a context, seen by tokens of later windows."),
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, with all digits.")] = False,
    per_token: Annotated[
        bool, typer.Option("--per-token", help="Each token with its nats, too.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the text to this page, coloured by its surprise.")
    ] = None,
    force: Force = False,
) -> None:
    """Score any text, as the perplexity table is made: nats per token, perplexity, bits per byte.

    Example: lmladder score outputs/transformer/checkpoint.safetensors --text "Once upon a time"
    """
    from lmladder.cli import require_replaceable
    from lmladder.cli.score import score_text

    if html is not None:
        require_replaceable(html, force=force)
    score_text(
        checkpoint, file, text, past=past, model=model, min_context=min_context,
        as_json=as_json, per_token=per_token, html=html,
    )  # fmt: skip


@app.command()
def inspect(
    checkpoint: Annotated[Path, typer.Argument(help="Any rung's checkpoint.safetensors.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs, and in full.")] = False,
    attention: Annotated[
        str | None, typer.Option(help="Draw where a Transformer looks in this prompt.")
    ] = None,
    next_: Annotated[
        str | None, typer.Option("--next", help="Draw what most probably follows this prompt.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to draw to, .svg or .png.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Which of several models to ask. [default: the strongest]")
    ] = None,
    force: Force = False,
) -> None:
    """Tell what a checkpoint holds, or draw what its model makes of a prompt.

    Example: lmladder inspect outputs/transformer/checkpoint.safetensors --next "Once " -o next.svg
    """
    from lmladder.cli import require_replaceable
    from lmladder.cli.inspect import draw_attention, draw_next, tell

    if output is not None:
        require_replaceable(output, force=force)
    if attention is None and next_ is None:
        if output is not None or model is not None:
            raise InputError("--output and --model are for pictures: --attention or --next")
        tell(checkpoint, as_json=as_json)
    elif attention is not None and next_ is not None:
        raise InputError("one picture at a time: --attention or --next")
    elif output is None or as_json:
        raise InputError("a picture needs a file, -o FILE, and is no --json")
    elif attention is not None:
        draw_attention(checkpoint, attention, output, model=model)
    elif next_ is not None:
        draw_next(checkpoint, next_, output, model=model)


@app.command()
def gradcheck(
    ops: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ops to check. [default: all]", show_default=False, autocompletion=_ops
        ),
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
def plot(
    outputs: Annotated[Path, typer.Argument(help="The folder that `dvc repro` has filled.")] = Path(
        "outputs"
    ),
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to draw to; made if need be.")
    ] = Path("pictures"),
    format_name: Annotated[str, typer.Option("--format", help="svg or png.")] = "svg",
    force: Force = False,
) -> None:
    """Draw all pictures of the results: losses, costs, context, calibration.

    Those of `outputs/evaluate`, and perplexity against training time on this machine.

    Example: lmladder plot outputs -o pictures --format png
    """
    from lmladder.cli.plot import plot

    plot(outputs, output, format_name, force=force)


FormatName = Annotated[
    str,
    typer.Option("--format", help="gpt2 or tiny-lm.", autocompletion=_formats),
]


@app.command("export")
def export_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="A Transformer's checkpoint.safetensors.")],
    target: Annotated[Path, typer.Argument(help="A new folder (gpt2) or file (tiny-lm).")],
    format_name: FormatName = "gpt2",
    force: Force = False,
) -> None:
    """Write a Transformer as another program keeps it: Hugging Face's GPT-2, or TinyLM.

    Example: lmladder export outputs/transformer/checkpoint.safetensors mine --format gpt2
    """
    from lmladder.cli import export, open_checkpoint
    from lmladder.interop import format_named

    kind = format_named(format_name)
    for note in export(open_checkpoint(checkpoint), target, kind, force=force):
        print(f"note: {note}")
    print(f"{format_name}: {checkpoint} -> {target}")


@app.command("import")
def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="A folder (gpt2) or file (tiny-lm).")],
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint to write.")],
    format_name: FormatName = "gpt2",
    force: Force = False,
) -> None:
    """Make a checkpoint of another program's model, to sample from and to train on.

    Example: lmladder import gpt2 gpt2.safetensors --format gpt2
    """
    from lmladder.cli import require_new
    from lmladder.interop import format_named, training_command

    require_new(checkpoint, force=force)
    loaded, notes = format_named(format_name).read(source)
    loaded.save(checkpoint)
    for note in notes:
        print(f"note: {note}")
    print(f"{format_name}: {source} -> {checkpoint}")
    print(f"to train on from it: {training_command(loaded, checkpoint)}")


@app.command()
def compare(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of runs or sweeps, or outputs; all runs below count.", show_default=False
        ),
    ] = None,
    rev: Annotated[
        list[str] | None,
        typer.Option(
            help="The committed outputs of a git revision or of an experiment of DVC; * stands for "
            "any part of an experiment's name. May be given several times.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            autocompletion=_metrics,
            help="bits_per_byte, nats_per_token, perplexity (of the whole validation text) or "
            "val_loss (of validation sequences). [default: the first that there is]",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Order by this setting, such as transformer.n_layer.")
    ] = None,
    power: Annotated[
        float | None,
        typer.Option(
            help="Also print how many seeds a difference of this size would need.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX tabular.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all that is known.")] = False,
    figure: Annotated[
        Path | None,
        typer.Option(help="Draw the scores over the setting of --by to this file, .svg or .png."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the table to this page, too, with every run.")
    ] = None,
    force: Force = False,
) -> None:
    """Compare runs: of each model and settings the mean over seeds and the distance to the best.

    The 95% intervals of all distances hold at once, over texts of the kind and over seeds. A rank
    is one more than the number of configurations that are shown to be better; one without a rank
    may be the best, or has too few seeds to be judged.

    Example: lmladder compare outputs/sweeps/transformer --by transformer.n_layer

    Example: lmladder compare outputs/sweeps --by transformer.d_model --figure sweep.svg

    Example: lmladder compare outputs --rev HEAD

    Example: lmladder compare outputs/sweeps --power 0.01
    """
    from lmladder import experiments as comparison
    from lmladder.cli import require_replaceable
    from lmladder.reports import comparison as formats

    for written in filter(None, (html, figure)):
        require_replaceable(written, force=force)
    flags = {"csv": csv, "markdown": markdown, "latex": latex, "json": json}
    wanted = [name for name, chosen in flags.items() if chosen]
    if len(wanted) > 1:
        raise InputError(f"--{wanted[0]} and --{wanted[1]} do not go together; choose one")
    if not folders and not rev:
        raise InputError("name folders of runs, such as outputs, or a revision: --rev NAME")
    found = comparison.find_runs(folders) if folders else comparison.Found()
    kept = comparison.find_revisions(rev or [])
    runs, notes = found.runs + kept.runs, found.notes + kept.notes
    table = comparison.compare(runs, metric=metric, by=by, notes=notes, power=power)
    if html is not None:
        atomic_write(html, formats.to_html(table).encode())
    if figure is not None:
        formats.write_figure(table, figure)
    formats.print_comparison(table, wanted[0] if wanted else None)


@app.command()
def report(
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")],
    outputs: Annotated[
        Path, typer.Argument(help="What the stages wrote.", show_default=True)
    ] = Path("outputs"),
    force: Force = False,
) -> None:
    """Write the page of results again, with what the committed one leaves out: machine and times.

    Example: lmladder report -o report.html
    """
    from lmladder.cli import require_replaceable
    from lmladder.cli.report import write_report

    require_replaceable(output, force=force)
    write_report(outputs, output)


@app.command()
def verify(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs, or checkpoints.", show_default=False)
    ],
    prepared: Annotated[
        Path | None,
        typer.Option(
            help="The text that the runs were trained on. [default: that of the ladder that a run "
            "stands in, or outputs/prepare]"
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Of losses, relative; granted where code, machine or versions differ.",
        ),
    ] = DEFAULT_TOLERANCE,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Changes speed only. [default: one a core]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, with all digits.")] = False,
) -> None:
    """Train runs again from their checkpoints, and report whether the results are the same.

    A run is bit-identical, or its losses are equal within a tolerance, or it differs from a step
    on. The last ends with status 1, a file that its checkpoint contradicts with status 2.

    Example: lmladder verify outputs/mlp outputs/transformer
    """
    from dataclasses import asdict

    from lmladder import kernels
    from lmladder.experiments.verify import open_run, verify_run

    kernels.set_threads(threads)
    verdicts = []
    for run in [open_run(path, prepared) for path in runs]:
        verdicts.append(verify_run(run, tolerance))
        if not as_json:
            print(verdicts[-1], flush=True)
    if as_json:
        print(dumps([asdict(each) for each in verdicts], indent=2))
    if differing := [each.path for each in verdicts if not each.reproduces]:
        raise RunError(f"not what was recorded: {', '.join(differing)}")


def main() -> None:
    """Run a command; a user's mistake ends in one line and exit status 2."""
    try:
        status = app(prog_name="lmladder", standalone_mode=False)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except ClickException as error:
        message = error.format_message()  # or the help, where nothing was asked
        print(message if message.startswith("Usage:") else f"error: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        print(f"error: cannot write: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the exit try
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
