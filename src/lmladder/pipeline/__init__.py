"""The stages of the pipeline: their entry point, and one module for the body of each."""

import signal


def main(script: str, about: str | None) -> None:
    """Run a stage as a program; see `lmladder.pipeline.entry.run`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from the imports, which take long
    from lmladder.pipeline.entry import run

    run(script, about)
