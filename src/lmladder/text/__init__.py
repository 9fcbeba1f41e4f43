"""Text: where it comes from, how it becomes tokens, how it is split, and how it is read.

`corpora.py` (with `tales.py` and `download.py`) finds text, `corpus.py` reads it in pieces,
`tokenizers/` turns it into tokens and back, `splits.py` divides it, `writing.py` writes the result,
`prepared.py` reads it, `batches.py` draws rows to train on. No model and no score is known here.
"""

from lmladder.text.batches import sample_rows
from lmladder.text.corpora import CORPORA, cache_directory, load_corpus, read_text
from lmladder.text.corpus import Corpus, Documents, LongText
from lmladder.text.prepared import CorpusFacts, Oracle, Prepared, SplitFacts, read_facts
from lmladder.text.splits import SPLITS
from lmladder.text.tokenizers import (
    TOKENIZERS,
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
    WordTokenizer,
    build_tokenizer,
    bytes_from_text,
    text_from_bytes,
    token_dtype,
    tokenizer_from_json,
)
from lmladder.text.writing import write_prepared
