"""Prepare the text of a ladder, and open it."""

from pathlib import Path
from typing import Any

from lmladder.config import Config
from lmladder.data import CorpusFacts, Prepared, write_prepared
from lmladder.pipeline.rungs import rungs_of
from lmladder.system.errors import InputError
from lmladder.system.progress import CountingProgress


def prepare_text(config: Config, folder: Path) -> None:
    """Write the token arrays of all splits, the tokenizer and corpus.json to a folder."""
    data = config.data
    corpus = data.load()
    with CountingProgress("prepare", "characters", sum(map(len, corpus.pieces()))) as progress:
        facts = write_prepared(
            folder,
            corpus,
            tokenizer=config.tokenizer,
            split=data.split,
            seed=data.seed,
            settings=config.text,
            advance=progress.advance,
        )
    _require_compatible(config, facts)
    sizes = ", ".join(f"{name} {split.tokens:,}" for name, split in facts.splits.items())
    print(f"prepare: {facts.name}, vocabulary {facts.vocabulary_size}; tokens: {sizes} -> {folder}")


def open_text(config: Config, ladder: Path) -> Prepared:
    """Return the text of a ladder, if it is complete and was prepared with this configuration.

    Raises
    ------
    InputError
        If the text was prepared with other settings; the message names the remedy. Also if the
        settings of a rung do not fit the text.
    """
    prepared = Prepared.open(ladder / "prepare")
    prepared.require_settings(config.text)
    _require_compatible(config, prepared.corpus)
    return prepared


def _require_compatible(config: Config, text: CorpusFacts) -> None:
    """Raise InputError if a rung has sequences longer than the text.

    Every stage checks all rungs, so that the first stage that runs reports what would stop a later
    one.
    """
    for rung in rungs_of(config):
        training: Any = getattr(rung.settings, "training", None)
        for split, name in (("train", "training"), ("val", "validation")) if training else ():
            if text.splits[split].tokens <= training.sequence_length:
                raise InputError(
                    f"the {name} text has {text.splits[split].tokens} tokens, fewer than the "
                    f"{training.sequence_length + 1} of a sequence; give a longer text, or make "
                    f"{rung.key}.training.sequence_length={training.sequence_length} smaller"
                )
