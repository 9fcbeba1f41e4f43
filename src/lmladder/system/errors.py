"""The two ways in which a command may fail, and the exit status of each.

A library function raises `InputError` for input of the user that cannot be used, and `RunError` if
the input was valid but the run could not finish. The entry points (`pipeline/entry.py`,
`cli/main.py`) print the message as one line, without a traceback. Mistakes of a programmer remain
ValueError or TypeError.
"""

STATUS_FILE = "LMLADDER_STATUS_FILE"  # the variable that names a file for a stage's exit status


class LadderError(Exception):
    """A failure that one line explains to the user; `exit_status` is that of the process."""

    exit_status = 1

    def __str__(self) -> str:
        """Return the message as one printable line."""
        return printable(super().__str__())


def printable(text: str, kept: str = "") -> str:
    """Escape unprintable characters, such as the control codes of a terminal, except `kept`."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in kept else repr(each)[1:-1] for each in text
    )


class InputError(LadderError):
    """A file, a setting or a prompt of the user is invalid. Exit status 2."""

    exit_status = 2


class RunError(LadderError):
    """A run with valid input failed: a full disk, no network, a loss that is not finite."""
