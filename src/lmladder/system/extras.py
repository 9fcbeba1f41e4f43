"""The packages that the core does without: those of the extras in pyproject.toml."""

import sys
from importlib.util import find_spec

from lmladder.system.errors import InputError


class MissingPackageError(InputError, ImportError):
    """A package of an extra is not installed."""


def require(name: str, *packages: str, extra: str = "pipeline") -> None:
    """Raise MissingPackageError if packages that `name` needs are missing; it names the extra."""
    if missing := [each for each in packages if find_spec(each) is None]:
        raise MissingPackageError(
            f"{name} needs packages that are not installed ({', '.join(missing)}): "
            f"pip install 'lmladder[{extra}]'"
        )


def exit_without(name: str, *packages: str, extra: str = "pipeline") -> None:
    """Exit the program `name` with one line if packages that it needs are missing."""
    try:
        require(name, *packages, extra=extra)
    except MissingPackageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
