"""`lmladder sample`: continue a prompt."""

from json import dumps
from typing import Annotated, Any

from lmladder.cli.arguments import DEFAULT_CHECKPOINT, CheckpointPath, RungModules, open_models
from lmladder.system.errors import InputError, printable

import typer

DEFAULT_PROMPT = "Once upon a time"
LAYOUT = "\n\t\xa0"  # characters of the model that are printed as they are
PRINTED = ("prompt", "text", "tokens", "log_probability", "finish_reason")

PROMPT = typer.Option(
    help=f"Text to continue. [default: {DEFAULT_PROMPT!r}, if the model knows its characters]"
)
TOKENS = typer.Option(min=1, help="The largest number of new tokens.")
TEMPERATURE = typer.Option(
    min=0.0, help="Divides the logits; 0 always takes the most probable token."
)
TOP_K = typer.Option(min=1, help="Keep the k most probable tokens. [default: all]")
TOP_P = typer.Option(help="Keep the most probable tokens with this total.")
MIN_P = typer.Option(help="Keep tokens with at least this fraction of the highest probability.")
REPETITION = typer.Option(help="Above 1 makes tokens less probable that occurred.")
BEAMS = typer.Option(min=1, help="Search for a probable text with this many beams; draw nothing.")
STOP = typer.Option(help="End before this text; may be given several times.", show_default=False)
SAMPLES = typer.Option(min=1, help="Number of samples, or of best beams.")
SEED = typer.Option(min=0, help="The same seed draws the same text; sample i has seed + i.")
JSON = typer.Option(
    "--json",
    help=f"Print a line of JSON for each sample: {', '.join(PRINTED)}; the log probability in "
    "nats, the reason length, stop or eos.",
)
MODEL = typer.Option(help="Which model of the checkpoint. [default: the strongest]")


def sample(
    context: typer.Context,
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
    prompt: Annotated[str | None, PROMPT] = None,
    tokens: Annotated[int, TOKENS] = 300,
    temperature: Annotated[float, TEMPERATURE] = 0.8,
    top_k: Annotated[int | None, TOP_K] = None,
    top_p: Annotated[float, TOP_P] = 1.0,
    min_p: Annotated[float, MIN_P] = 0.0,
    repetition_penalty: Annotated[float, REPETITION] = 1.0,
    beams: Annotated[int | None, BEAMS] = None,
    stop: Annotated[list[str] | None, STOP] = None,
    samples: Annotated[int, SAMPLES] = 1,
    seed: Annotated[int, SEED] = 0,
    json: Annotated[bool, JSON] = False,
    model: Annotated[str | None, MODEL] = None,
    modules: RungModules = None,
) -> None:
    """Continue a prompt, and print each token as it is chosen.

    The repetition penalty is applied first, then temperature, top-k, top-p and min-p. Control
    characters are printed as escapes, such as \\x1b; --json has the text itself.

    Examples:
        lmladder sample --prompt "Once upon a time" --top-k 40 --seed 1
        lmladder sample outputs/bigram --model trigram --tokens 60
        lmladder sample --top-p 0.9 --stop "." --samples 3 --json
        lmladder sample --beams 4 --tokens 60
    """
    from lmladder.sampling import BeamSearch, Strategy, complete
    from lmladder.system.settings import validate

    options: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    source: Any = context.get_parameter_source
    given = [name for name in options if source(name).name == "COMMANDLINE"]
    if beams is not None and given:
        raise InputError(f"--beams draws nothing; leave out --{given[0].replace('_', '-')}")
    drawing = validate(Strategy, options)
    models, tokenizer = open_models(checkpoint, model)
    try:
        ids = tokenizer.encode(DEFAULT_PROMPT if prompt is None else prompt).tolist()
    except InputError:
        if prompt is not None:
            raise
        ids = [tokenizer.first]  # a text in another alphabet
    streamed = samples == 1 and not json
    before = [tokenizer.decode(ids)]  # printed with the first piece: not before an error

    def show(piece: str) -> None:
        if streamed:
            text = before.pop() + piece if before else piece
            print(printable(text, LAYOUT), end="", flush=True)

    made = complete(
        [*models.values()][-1],
        tokenizer,
        ids,
        tokens=tokens,
        strategy=drawing if beams is None else BeamSearch(beams),
        seed=seed,
        samples=samples,
        stop=stop or (),
        show=show,
    )
    if json:
        for each in made:
            print(dumps({name: getattr(each, name) for name in PRINTED}))
    elif samples > 1:
        texts = (f"== {i} ==\n{each.prompt}{each.text}" for i, each in enumerate(made, 1))
        print(printable("\n\n".join(texts), LAYOUT))
    else:
        print()
