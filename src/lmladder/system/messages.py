"""What a command prints besides its results: to standard error, as much as the user asked for."""

import sys

QUIET, NORMAL, VERBOSE = range(3)
_level = NORMAL


def set_level(level: int) -> None:
    """Print only errors, QUIET; also notes and progress, NORMAL; or details too, VERBOSE."""
    global _level
    _level = level


def shown(level: int = NORMAL) -> bool:
    """Return whether messages of a level are printed."""
    return _level >= level


def say(text: str, level: int = NORMAL) -> None:
    """Print a message of a level as one line."""
    if shown(level):
        print(text, file=sys.stderr, flush=True)
