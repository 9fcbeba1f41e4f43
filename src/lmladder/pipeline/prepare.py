"""The first stage: converts a text into token arrays and a tokenizer."""

from pathlib import Path

from lmladder.config import Config
from lmladder.data import load_corpus, write_prepared
from lmladder.pipeline.stages import Result, Stage
from lmladder.pipeline.text import require_compatible
from lmladder.system.progress import CountingProgress


def prepare(stage: Stage, config: Config, out: Path, ladder: Path) -> Result:
    """Write the token arrays of all splits, the tokenizer and corpus.json to `out`."""
    data = config.data
    corpus = load_corpus(data)
    with CountingProgress("prepare", "characters", sum(map(len, corpus.pieces()))) as progress:
        facts = write_prepared(
            out,
            corpus,
            tokenizer=config.tokenizer,
            split=data.split,
            seed=data.seed,
            settings=config.text,
            advance=progress.advance,
        )
    require_compatible(config, facts)
    sizes = ", ".join(f"{name} {split.tokens:,}" for name, split in facts.splits.items())
    print(f"prepare: {facts.name}, vocabulary {facts.vocabulary_size}; tokens: {sizes} -> {out}")
    return Result()
