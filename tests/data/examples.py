"""Settings of tokenizers for tests."""

from lmladder.data import TOKENIZERS

CHOICES = {
    "byte": {},
    "char": {},
    "word": {"vocabulary_size": None, "unknown": "error"},
    "bpe": {"vocabulary_size": 300},
}


def tokenizer_settings(name, **changes):
    return TOKENIZERS.settings(name)(name=name, watch="", **(CHOICES.get(name, {}) | changes))
