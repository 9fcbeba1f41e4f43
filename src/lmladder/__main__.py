"""The command `lmladder`, also as `python -m lmladder`."""

import sys

from lmladder.system.extras import exit_without

LIGHT = ("audit", "inspect", "sample", "score")  # for these commands the extra `cli` is enough


def main() -> None:
    """Run a command, or print in one line what it needs to be installed."""
    name, *_ = *sys.argv[1:], ""
    extra = "cli" if name in LIGHT else "pipeline"
    exit_without(f"lmladder {name}".strip(), "typer", extra=extra)
    from lmladder.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
