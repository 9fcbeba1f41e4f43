"""The entry point of `lmladder`: its commands, and how errors end them."""

import gc
import os
import sys
from collections.abc import Callable
from typing import Any

from lmladder.cli.compare import compare
from lmladder.cli.exchange import export_checkpoint, import_checkpoint
from lmladder.cli.gradcheck import gradcheck
from lmladder.cli.init import init
from lmladder.cli.inspect import inspect
from lmladder.cli.play import play
from lmladder.cli.plot import plot
from lmladder.cli.report import report
from lmladder.cli.sample import sample
from lmladder.cli.score import score
from lmladder.cli.verify import verify
from lmladder.system.errors import LadderError

import typer

# Typer has its own copy of Click and does not export the base class of all usage errors.
ClickException: Any = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)

app = typer.Typer(
    help="Sample from, score, inspect and compare the language models of a ladder.\n\n"
    "`dvc repro` trains the models; docs/tutorial.md is the introduction.\n\n"
    "Example: lmladder sample --tokens 300",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "sample": sample,
    "score": score,
    "inspect": inspect,
    "gradcheck": gradcheck,
    "plot": plot,
    "play": play,
    "export": export_checkpoint,
    "import": import_checkpoint,
    "compare": compare,
    "report": report,
    "verify": verify,
    "init": init,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Run a command; a user's mistake ends in one line and exit status 2."""
    gc.set_threshold(100_000)  # imports make many objects that stay
    try:
        status = app(prog_name="lmladder", standalone_mode=False)
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except ClickException as error:
        message = error.format_message()  # the help, where no command was given
        print(message if message.startswith("Usage:") else f"error: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        print(f"error: cannot write: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second error at exit
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
