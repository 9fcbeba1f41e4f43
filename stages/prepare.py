"""Stage 1: a text becomes token arrays and a tokenizer.

The other stages read outputs/prepare, which only the pipeline writes: dvc repro prepare. By hand it
shows what a text comes to, in a folder of its own under outputs/runs/prepare:

    python stages/prepare.py tokenizer=word
    python stages/prepare.py data=file data.path=README.md tokenizer=bpe
"""

from pathlib import Path

from lmladder.config import Config
from lmladder.progress import CountingProgress
from lmladder.stage import Done, data_settings, stage
from lmladder.text import cache_directory, load_corpus, write_prepared


@stage()
def main(config: Config, out: Path, ladder: Path) -> Done:
    data = config.data
    corpus = load_corpus(
        corpus=data.corpus,
        path=Path(data.path) if data.path else None,
        url=data.url,
        sha256=data.sha256,
        documents=data.documents,
        seed=data.seed,
        characters=data.characters,
        cache=cache_directory(),
    )
    with CountingProgress("prepare", "characters") as progress:
        facts = write_prepared(
            out,
            corpus,
            tokenizer=config.tokenizer,
            train=data.split.train,
            val=data.split.val,
            test=data.split.test,
            seed=data.seed,
            settings=data_settings(config),
            advance=progress.advance,
        )
    sizes = ", ".join(f"{name} {split.tokens:,}" for name, split in facts.splits.items())
    print(f"prepare: {facts.name}, vocabulary {facts.vocabulary_size}; tokens: {sizes} -> {out}")
    return Done()


if __name__ == "__main__":
    main()
