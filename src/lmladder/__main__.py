"""The command `lmladder`, also as `python -m lmladder`."""

import sys

from lmladder.system.errors import InputError
from lmladder.system.extras import require

LIGHT = ("audit", "inspect", "sample", "score")  # for these commands the extra `cli` is enough


def main() -> None:
    """Run a command, or print in one line what it needs to be installed."""
    name, *_ = *sys.argv[1:], ""
    try:
        require(f"lmladder {name}".strip(), "typer", extra="cli" if name in LIGHT else "pipeline")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    from lmladder.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
