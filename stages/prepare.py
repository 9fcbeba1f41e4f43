"""Stage 1: converts a text into token arrays and a tokenizer.

The other stages read outputs/prepare, which only the pipeline writes: dvc repro prepare. By hand,
to try a text or a tokenizer, in a new folder in outputs/runs/prepare:

    python stages/prepare.py tokenizer=word
    python stages/prepare.py data=file data.path=README.md tokenizer=bpe
"""

from pathlib import Path

from lmladder.pipeline import Config, prepare_text, stage


@stage
def prepare(config: Config, folder: Path, ladder: Path) -> None:
    """Convert the text into tokens."""
    prepare_text(config, folder)


if __name__ == "__main__":
    prepare()
