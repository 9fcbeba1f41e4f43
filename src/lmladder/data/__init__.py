"""Text: its sources, its splits, its tokens, and the sequences of a batch.

`corpora.py` (with `tales.py`) loads text, `reading.py` reads files, `corpus.py` and `splits.py`
divide text, `tokenizers/` converts it to tokens and back, `writing.py` writes the result,
`prepared.py` reads it, `batches.py` draws sequences to train on. Models and scores are elsewhere.
"""

from lmladder.data.corpora import AnyCorpus, cache_directory, load_corpus, read_text
from lmladder.data.corpus import Corpus
from lmladder.data.prepared import CorpusFacts, Prepared, SplitFacts, read_facts
from lmladder.data.reading import bytes_from_text, text_from_bytes
from lmladder.data.splits import SPLITS, SplitSettings
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
from lmladder.data.writing import write_prepared
