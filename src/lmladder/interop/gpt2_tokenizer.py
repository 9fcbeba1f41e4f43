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
from lmladder.data.tokenizers.bpe import LETTER_OF, byte_level
from lmladder.system.errors import InputError

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
OURS = "lmladder_tokenizer.json"
UNKNOWN = "<unk>"  # not in the vocabulary, so that the library rejects what is unknown
FREE = ("vocab", "merges", "trim_offsets")  # parts of tokenizer.json that may differ from ours


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
    if path.name == OURS:
        return tokenizer_from_json(fields)
    try:
        engine = tokenizers.Tokenizer.from_str(json.dumps(fields))
    except Exception as error:  # the library raises no other class
        raise InputError(f"the tokenizers library cannot read {path}: {error}") from None
    theirs, ours = (json.loads(each.to_str()) for each in (engine, byte_level(models.BPE())))
    for part in ("normalizer", "pre_tokenizer", "model"):
        if (given := _options(theirs[part])) != (expected := _options(ours[part])):
            raise InputError(
                f"{path}: {part} is {reprlib.repr(given)}, but only {expected} is read"
            )
    ids, added = engine.get_vocab(with_added_tokens=False), engine.get_added_tokens_decoder()
    for index, token in added.items():  # each is stored as text, all others in letters for bytes
        ids.pop(token.content, None)
        ids["".join(LETTER_OF[byte] for byte in token.content.encode())] = index
    numbers, listed = {*ids.values()}, {each["id"] for each in fields.get("added_tokens") or ()}
    if max(numbers) >= vocabulary_size or len(numbers) < len(ids) or listed != added.keys():
        raise InputError(f"{path}: tokens must have one number each, below {vocabulary_size}")
    vocabulary = [f"<|unused{index}|>" for index in range(vocabulary_size)]
    for name, index in ids.items():
        vocabulary[index] = name
    end = eos if type(eos) is int and eos in added else None
    if end is not None and (added[end].lstrip or added[end].rstrip):
        raise InputError(f"{path}: the token {reprlib.repr(added[end].content)} takes white space")
    merges = [" ".join(pair) for pair in theirs["model"]["merges"]]
    fitted = {"name": BpeTokenizer.name, "vocabulary": vocabulary, "merges": merges}
    return tokenizer_from_json(fitted if end is None else {**fitted, "eos": end})


def _options(part: dict[str, Any] | None) -> dict[str, Any]:
    """Return the options of a part of tokenizer.json, without those that are off or may differ."""
    return {key: value for key, value in (part or {}).items() if value and key not in FREE}
