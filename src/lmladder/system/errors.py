"""The two ways in which a command of this project may fail, and the exit status of each.

A library function raises `InputError` when what the user gave cannot be used, and `RunError` when
the input was fine but the run could not be finished. The doors (`stage.py`, `cli.py`) print the
message as one line, without a traceback. Mistakes of a programmer stay ValueError or TypeError.
"""

from pathlib import Path


class LadderError(Exception):
    """A failure that one line explains to the user; `exit_status` is the process's."""

    exit_status = 1

    def __str__(self) -> str:
        """One line, whatever it quotes."""
        return printable(super().__str__())


def printable(text: str) -> str:
    """Escape what cannot be printed: a file may contain control codes of a terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


class InputError(LadderError):
    """The user's input is at fault: a file, a config value, a prompt. Exit status 2."""

    exit_status = 2


class RunError(LadderError):
    """The input was fine, but the run failed: no space, no network, a loss that is not finite."""


def no_file(path: Path, name: object = None) -> InputError:
    """Return the error for a path that is no file to read: it is missing, or a directory.

    Parameters
    ----------
    name : what the message calls the path, if not by itself
    """
    shown = path if name is None else name
    if path.is_dir():
        return InputError(f"{shown} is a directory, not a file")
    return InputError(f"there is no file {shown}")
