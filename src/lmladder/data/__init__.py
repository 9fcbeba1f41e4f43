"""Text: its sources, its splits, its tokens, and the sequences of a batch.

`corpora.py` (with `tales.py`) loads text, `reading.py` reads files, `corpus.py` divides text,
`tokenizers/` converts it to tokens and back, `prepared.py` writes and reads the result, and
`batches.py` draws sequences to train on. Models and scores are elsewhere.
"""

from lmladder.data.corpora import AnyCorpus, cache_directory, read_text
from lmladder.data.corpus import SPLITS, Corpus, SplitSettings
from lmladder.data.prepared import CorpusFacts, Prepared, SplitFacts, write_prepared
from lmladder.data.reading import bytes_from_text, text_from_bytes
from lmladder.data.tokenizers import (
    TOKENIZERS,
    AnyTokenizer,
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
    WordTokenizer,
    build_tokenizer,
    tokenizer_from_json,
)
