"""The packages that the core does without: those of the extras in pyproject.toml."""

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
