"""Conversion of our tokenizers to those of the `tokenizers` library, and back.

The library writes tokenizer.json, which `transformers` reads, and checks it when it is read. The
kinds that are read are those that are written: byte-level BPE, and vocabularies of characters or
words. The library has no equivalent of a word tokenizer, which is stored in our own format.
"""

import json
import reprlib
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from lmladder.data import (
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
    tokenizer_from_json,
)
from lmladder.data.reading import read_json
from lmladder.data.tokenizers.bpe import LETTER_OF
from lmladder.system.errors import InputError

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
OURS = "lmladder_tokenizer.json"  # of a tokenizer that the library does not have
LETTERS = [LETTER_OF[byte] for byte in range(256)]
UNKNOWN = "<unk>"  # not in the vocabulary, so that the library rejects what is unknown
# How the library splits text before its WordLevel model, and joins it after.
SPLITS: dict[str, tuple[Any, Any]] = {
    "char": (pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()),
    "whitespace": (pre_tokenizers.WhitespaceSplit(), None),
}


def written(tokenizer: Tokenizer, context_length: int) -> tuple[dict[str, Any], list[str]]:
    """Return the JSON files, by name, that describe a tokenizer, and notes to the user."""
    try:
        engine = _engine(tokenizer)
    except InputError:
        note = (
            f"transformers does not have a tokenizer like this one ({tokenizer.name}); "
            f"it is stored in {OURS}, for lmladder only"
        )
        return {OURS: tokenizer.to_json()}, [note]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
    }
    if tokenizer.eos is not None:
        config["eos_token"] = engine.get_added_tokens_decoder()[tokenizer.eos].content
    return {TOKENIZER: json.loads(engine.to_str()), TOKENIZER_CONFIG: config}, []


def read(folder: Path, vocabulary_size: int, eos: object) -> tuple[Tokenizer, list[str]]:
    """Return the tokenizer in a folder, and notes to the user.

    Parameters
    ----------
    vocabulary_size : of the model; tokens that only the model has get placeholder names
    eos : eos_token_id of config.json; the token that ends a document if it is an added token

    Raises
    ------
    InputError
        If there is none, or it would give other tokens here.
    """
    path = folder / (OURS if (folder / OURS).exists() else TOKENIZER)
    fields = read_json(path)
    try:
        if path.name == TOKENIZER:
            return _tokenizer(fields, vocabulary_size, eos)
        return tokenizer_from_json(fields), []
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _engine(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """Return the equivalent tokenizer of the library; InputError if there is none."""
    match tokenizer:
        case BpeTokenizer():
            return tokenizer.engine
        case ByteTokenizer():
            return BpeTokenizer(LETTERS, [], tokenizer.eos).engine
        case CharTokenizer():
            vocabulary: Sequence[str] = tokenizer.characters
        case WhitespaceTokenizer():
            vocabulary = tokenizer.words
        case _:
            vocabulary = [UNKNOWN]
    if UNKNOWN in vocabulary:
        raise InputError(f"the library does not have such a {tokenizer.name} tokenizer")
    ids = {token: index for index, token in enumerate(vocabulary)}
    engine = tokenizers.Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    engine.pre_tokenizer, engine.decoder = SPLITS[tokenizer.name]
    if tokenizer.eos is not None:
        text = tokenizer.decode([tokenizer.eos])
        engine.add_special_tokens([AddedToken(text, normalized=False, special=True)])
    return engine


def _tokenizer(
    fields: dict[str, Any], vocabulary_size: int, eos: object
) -> tuple[Tokenizer, list[str]]:
    """Return the tokenizer that a tokenizer.json describes, and notes to the user."""
    kind = _require_known(fields)
    # Parts of an unknown file that could take long, such as a pattern, are not built.
    dropped = dict.fromkeys(("pre_tokenizer", "post_processor", "decoder", "truncation", "padding"))
    try:
        engine = tokenizers.Tokenizer.from_str(json.dumps(fields | dropped))
    except Exception as error:
        raise InputError(f"the tokenizers library cannot read it: {error}") from None
    added = engine.get_added_tokens_decoder()
    if added.keys() != {entry["id"] for entry in fields.get("added_tokens") or []}:
        raise InputError("its added_tokens do not have the numbers that the library gives them")
    end = eos if type(eos) is int and eos in added else None
    others = [token.content for index, token in added.items() if index != end]
    notes = []
    if others:
        notes = [f"only the end-of-text token is special here; {reprlib.repr(others)} are not"]
    ids = engine.get_vocab(with_added_tokens=False)
    for index, token in added.items():
        if token.single_word or token.lstrip or token.rstrip:
            raise InputError(f"the added token {reprlib.repr(token.content)} takes white space")
        if kind == "bpe":  # it is stored as text, all others in the alphabet of bytes
            ids.pop(token.content, None)
            data = token.content.encode("utf-8", "surrogatepass")
            ids["".join(LETTER_OF[byte] for byte in data)] = index
    token_of = {index: token for token, index in sorted(ids.items(), key=itemgetter(1))}
    if len(token_of) < len(ids):
        raise InputError("two of its tokens have the same number")
    if max(token_of, default=0) >= vocabulary_size:
        raise InputError(f"token {max(token_of)} is not one of the model's {vocabulary_size}")
    tokens = list(token_of.values())
    if kind == "whitespace":
        return WhitespaceTokenizer(tokens, end), notes
    if kind == "char":
        if any(len(token) != 1 for token in tokens):
            raise InputError("a vocabulary of characters has one in each token")
        return CharTokenizer("".join(tokens), end), notes
    merges = [m if isinstance(m, str) else " ".join(m) for m in fields["model"]["merges"]]
    vocabulary = [token_of.get(index, f"<|unused{index}|>") for index in range(vocabulary_size)]
    if not merges and vocabulary == LETTERS:
        return ByteTokenizer(end), notes
    return BpeTokenizer(vocabulary, merges, end), notes


def _require_known(fields: Mapping[str, Any]) -> str:
    """Return the kind of a tokenizer.json; InputError, with the setting, if it is not supported."""
    model, split = fields.get("model"), fields.get("pre_tokenizer")
    if not isinstance(model, dict) or not isinstance(split, dict):
        raise InputError("its model and its pre_tokenizer must be objects")
    kind, settings = model.get("type", "BPE"), {"normalizer": fields.get("normalizer")}
    states = {name: json.loads(each.__getstate__()) for name, (each, _) in SPLITS.items()}
    ours = [name for name, state in states.items() if state == split]
    if kind == "BPE" and split.get("type") == "ByteLevel":
        ours = ["bpe"]
        settings["add_prefix_space"] = split.get("add_prefix_space", True)
        settings["use_regex"] = split.get("use_regex", True) is not True
        names = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
        settings |= {name: model.get(name) for name in names}
    elif kind != "WordLevel" or not ours:
        raise InputError(
            f"its model is {reprlib.repr(kind)} after {reprlib.repr(split.get('type'))}, not BPE "
            "after ByteLevel, which is GPT-2's"
        )
    for key, value in settings.items():
        if value:
            raise InputError(f"its {key}, {reprlib.repr(value)}, would give other tokens")
    return ours[0]
