"""tokenizer.json, which the `tokenizers` library writes and checks, and `transformers` reads.

Byte-level BPE is read. Each tokenizer is also written in our own format, from which an exported
model is imported again.
"""

import json
import reprlib
from pathlib import Path
from typing import Any

from lmladder.data import (
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    tokenizer_from_json,
)
from lmladder.data.reading import read_json
from lmladder.data.tokenizers.bpe import LETTER_OF
from lmladder.system.errors import InputError

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
OURS = "lmladder_tokenizer.json"
UNKNOWN = "<unk>"  # not in the vocabulary, so that the library rejects what is unknown
OPTIONS = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")


def written(tokenizer: Tokenizer, context_length: int) -> dict[str, Any]:
    """Return the JSON files, by name, that describe a tokenizer; InputError for a kind of words."""
    ours = tokenizer.to_json()
    if isinstance(tokenizer, ByteTokenizer):
        tokenizer = BpeTokenizer([LETTER_OF[byte] for byte in range(256)], [], tokenizer.eos)
    if not isinstance(tokenizer, BpeTokenizer | CharTokenizer):
        raise InputError(f"transformers does not have a tokenizer like {tokenizer.name}")
    engine = tokenizer.engine if isinstance(tokenizer, BpeTokenizer) else _of_characters(tokenizer)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
    }
    if tokenizer.eos is not None:
        config["eos_token"] = engine.get_added_tokens_decoder()[tokenizer.eos].content
    return {OURS: ours, TOKENIZER: json.loads(engine.to_str()), TOKENIZER_CONFIG: config}


def _of_characters(tokenizer: CharTokenizer) -> tokenizers.Tokenizer:
    """Return the library's tokenizer with the same characters."""
    ids = {character: index for index, character in enumerate(tokenizer.characters)}
    engine = tokenizers.Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    engine.decoder = decoders.Fuse()
    if tokenizer.eos is not None:
        text = tokenizer.decode([tokenizer.eos])
        engine.add_special_tokens([AddedToken(text, normalized=False, special=True)])
    return engine


def read(folder: Path, vocabulary_size: int, eos: object) -> Tokenizer:
    """Return the tokenizer in a folder.

    Parameters
    ----------
    vocabulary_size : of the model; tokens that only the model has get placeholder names
    eos : eos_token_id of config.json; the token that ends a document if it is an added token. Other
        added tokens are encoded as plain text.

    Raises
    ------
    InputError
        If there is none, or it would give other tokens here.
    """
    path = folder / (OURS if (folder / OURS).exists() else TOKENIZER)
    fields = read_json(path)
    try:
        if path.name == OURS:
            return tokenizer_from_json(fields)
        return _byte_level(fields, vocabulary_size, eos)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _byte_level(fields: dict[str, Any], vocabulary_size: int, eos: object) -> Tokenizer:
    """Return the tokenizer that a tokenizer.json of GPT-2's kind describes."""
    model, split = fields.get("model"), fields.get("pre_tokenizer")
    if not isinstance(model, dict) or not isinstance(split, dict):
        raise InputError("its model and its pre_tokenizer must be objects")
    expected = {**dict.fromkeys(OPTIONS), "type": "BPE", "normalizer": None}
    expected |= {"split": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    options = {"add_prefix_space": True, "use_regex": True, **split, "type": "BPE", **model}
    options |= {"split": split.get("type"), "normalizer": fields.get("normalizer")}
    for key, value in expected.items():
        if (options.get(key) or None) != (value or None):
            raise InputError(f"{key}={reprlib.repr(options.get(key))} is read only as {value}")
    given = fields.get("added_tokens") or []
    try:  # without parts that could take long, such as a pattern
        engine = tokenizers.Tokenizer.from_str(json.dumps({"model": model, "added_tokens": given}))
        merges = json.loads(engine.to_str())["model"]["merges"]
    except Exception as error:  # the library raises no other class
        raise InputError(f"the tokenizers library cannot read it: {error}") from None
    ids, added = engine.get_vocab(with_added_tokens=False), engine.get_added_tokens_decoder()
    for index, token in added.items():  # each is stored as text, all others in letters for bytes
        ids.pop(token.content, None)
        data = token.content.encode("utf-8", "surrogatepass")
        ids["".join(LETTER_OF[byte] for byte in data)] = index
    numbers = {*ids.values()}
    known = max(numbers, default=0) < vocabulary_size and len(numbers) == len(ids)
    if not known or added.keys() != {each["id"] for each in given}:
        raise InputError(f"its tokens must have one number each, below {vocabulary_size}")
    vocabulary = [f"<|unused{index}|>" for index in range(vocabulary_size)]
    for name, index in ids.items():
        vocabulary[index] = name
    end = eos if type(eos) is int and eos in added else None
    if end is not None and (added[end].single_word or added[end].lstrip or added[end].rstrip):
        raise InputError(f"the added token {reprlib.repr(added[end].content)} takes white space")
    return BpeTokenizer(vocabulary, [" ".join(pair) for pair in merges], end)
