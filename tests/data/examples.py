"""Settings of tokenizers for tests, and prepared texts."""

from lmladder.data import TOKENIZERS, Corpus, Prepared, write_prepared
from lmladder.data.settings import SplitSettings

CHOICES = {
    "byte": {},
    "char": {},
    "word": {"vocabulary_size": None, "unknown": "error"},
    "bpe": {"vocabulary_size": 300},
}


def tokenizer_settings(name, **changes):
    return TOKENIZERS.settings(name)(name=name, watch="", **(CHOICES.get(name, {}) | changes))


def prepared_text(folder, corpus, tokenizer="char", split=(0.8, 0.1, 0.1), **changes):
    """Prepare a corpus, or one text, in a folder; `changes` are settings of the tokenizer."""
    write_prepared(
        folder,
        Corpus.of_text("text", corpus) if isinstance(corpus, str) else corpus,
        tokenizer=tokenizer_settings(tokenizer, **changes),
        split=SplitSettings(*split),
        seed=0,
        settings={},
    )
    return Prepared.open(folder)
