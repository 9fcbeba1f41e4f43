"""The entry point of `lmladder`: its commands, and how errors end them."""

import gc
import inspect as python
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

from lmladder.cli.audit import audit
from lmladder.cli.compare import compare
from lmladder.cli.exchange import export_checkpoint, import_checkpoint
from lmladder.cli.inspect import inspect
from lmladder.cli.play import play
from lmladder.cli.run import run
from lmladder.cli.sample import sample
from lmladder.cli.score import score
from lmladder.cli.settings import settings
from lmladder.cli.trying import try_
from lmladder.cli.verify import verify
from lmladder.system import messages
from lmladder.system.errors import LadderError

import typer
from typer.core import TyperCommand
from typer.main import get_command

# Typer has its own copy of Click and does not export the base class of all usage errors.
ClickException: Any = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)
COMMANDS: dict[str, Callable[..., None]] = {
    each.__name__.removesuffix("_checkpoint").rstrip("_"): each
    for each in (
        *(run, settings, sample, score, inspect, compare, try_, play, verify),
        *(export_checkpoint, import_checkpoint, audit),
    )
}
INTERRUPTED = 130  # the exit status that Typer gives
EXIT_STATUS = "Exit status: 0 done; 1 the run or the check failed; 2 the input is not valid."


def _set_level(verbose: bool | None) -> None:
    if verbose is not None:
        messages.set_level(messages.VERBOSE if verbose else messages.QUIET)


LEVEL = typer.Option(
    *("--verbose/--quiet", "-v/-q"),
    help="Also print details, or results and errors only.",
    expose_value=False,
    callback=_set_level,
    show_default=False,
)
shared = typer.Typer(add_completion=False)


@shared.command()
def _options(verbose: Annotated[bool | None, LEVEL] = None) -> None:
    """Declare the options that every command has."""


class Command(TyperCommand):
    """A command with the options of every command."""

    def __init__(self, *arguments: Any, params: list[Any], **options: Any):
        super().__init__(*arguments, params=[*params, *get_command(shared).params], **options)


app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _documented(function: Callable[..., None]) -> dict[str, Any]:
    """Return the help of a function; its examples keep their lines, so that they can be pasted."""
    about = python.getdoc(function) or ""
    return {"help": about.replace("Examples:\n", "\b\nExamples:\n"), "epilog": EXIT_STATUS}


def _print_version(given: bool) -> None:
    if given:
        print(f"lmladder {version('lmladder')}")
        raise typer.Exit


VERSION = typer.Option("--version", help="Print the version.", callback=_print_version)


def _about(show_version: Annotated[bool, VERSION] = False) -> None:
    """Train a ladder of language models on one text, and look at, score and compare them.

    docs/tutorial.md is the introduction; `lmladder COMMAND -h` describes a command.

    Examples:
        lmladder run
        lmladder sample --prompt "Once upon a time"
    """


app.callback(**_documented(_about))(_about)
for _name, _command in COMMANDS.items():
    app.command(_name, cls=Command, **_documented(_command))(_command)


def main() -> None:
    """Run a command; a user's mistake ends in one line and exit status 2."""
    gc.set_threshold(100_000)  # imports make many objects that stay
    messages.set_level(messages.NORMAL)
    try:
        status = app(prog_name="lmladder", standalone_mode=False)
        if status == INTERRUPTED:
            raise KeyboardInterrupt
    except LadderError as error:
        if messages.shown(messages.VERBOSE):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except ClickException as error:
        # The help, where no command was given; a choice that is unknown is a "Value error".
        message = error.format_message().replace("Value error, ", "")
        print(message if message.startswith("Usage:") else f"error: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (OSError, ImportError, MemoryError) as error:  # such as a full disk
        reason = getattr(error, "strerror", None)
        message = f"cannot write: {reason}" if reason else str(error) or "out of memory"
        print(f"error: {message}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second error at exit
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
