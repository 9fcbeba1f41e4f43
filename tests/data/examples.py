"""Settings of tokenizers for tests, and prepared texts."""

from lmladder.data import AnyTokenizer, Corpus, Prepared, SplitSettings, write_prepared
from lmladder.system.settings import validate

CHOICES = {
    "byte": {},
    "char": {},
    "word": {"vocabulary_size": None, "unknown": "error"},
    "bpe": {"vocabulary_size": 300},
}


def tokenizer_settings(name, **changes):
    return validate(AnyTokenizer, {"name": name, **CHOICES.get(name, {}), **changes}, "tokenizer")


def split_settings(train, val, test):
    return validate(SplitSettings, {"train": train, "val": val, "test": test}, "data.split")


def prepared_text(folder, corpus, tokenizer="char", split=(0.8, 0.1, 0.1), **changes):
    """Prepare a corpus, or one text, in a folder; `changes` are settings of the tokenizer."""
    write_prepared(
        folder,
        Corpus("text", [corpus]) if isinstance(corpus, str) else corpus,
        tokenizer=tokenizer_settings(tokenizer, **changes),
        split=split_settings(*split),
        seed=0,
        settings={},
    )
    return Prepared.open(folder)
