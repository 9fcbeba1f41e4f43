"""Our tokenizers as files of the `tokenizers` library, which `transformers` reads, and back.

Of tokenizer.json no more is read than what this file also writes: byte-level BPE, and vocabularies
of characters or words. A word tokenizer is none that the library has, so ours is kept as it is.
"""

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmladder.errors import InputError
from lmladder.interop.files import read_json
from lmladder.text import (
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
    tokenizer_from_json,
)
from lmladder.text.tokenizers.bpe import BYTE_OF

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
OURS = "lmladder_tokenizer.json"  # what the library has no like of
LETTER_OF = {byte: letter for letter, byte in BYTE_OF.items()}
EACH_CHARACTER = {
    "type": "Split",
    "pattern": {"Regex": r"[\s\S]"},
    "behavior": "Isolated",
    "invert": False,
}
WORDS = {"type": "WhitespaceSplit"}
UNKNOWN = "<unk>"  # not in the vocabulary, so that the library refuses what is unknown


def written(tokenizer: Tokenizer, context_length: int) -> tuple[dict[str, Any], list[str]]:
    """The files, by name, that hold a tokenizer, and notes for the user."""
    added: list[dict[str, Any]] = []
    eos = {}
    if (text := _text_of_boundary(tokenizer)) is not None:
        added, eos = [_added(tokenizer.boundary, text)], {"eos_token": text}
    fields = _library_fields(tokenizer, text)
    if fields is None:
        note = (
            f"transformers has no tokenizer like this one ({tokenizer.name}); "
            f"it is kept in {OURS}, for lmladder only"
        )
        return {OURS: tokenizer.to_json()}, [note]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        **eos,
    }
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "post_processor": None,
        **fields,
    }
    return {TOKENIZER: whole, TOKENIZER_CONFIG: config}, []


def read(folder: Path, vocabulary_size: int, eos: object) -> tuple[Tokenizer, list[str]]:
    """The tokenizer in a folder, and notes for the user.

    Parameters
    ----------
    vocabulary_size : of the model; what it has more than the tokenizer gets names of no meaning
    eos : eos_token_id of config.json; the boundary of documents if it is an added token

    Raises
    ------
    InputError
        If there is none, or one that would give other tokens here.
    """
    path = folder / (OURS if (folder / OURS).exists() else TOKENIZER)
    fields = read_json(path)
    try:
        if path.name == TOKENIZER:
            return _tokenizer(fields, vocabulary_size, eos)
        tokenizer = tokenizer_from_json(fields)
        if tokenizer.vocabulary_size != vocabulary_size:
            raise InputError(
                f"it has {tokenizer.vocabulary_size} tokens, the model {vocabulary_size}"
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return tokenizer, []


def _text_of_boundary(tokenizer: Tokenizer) -> str | None:
    """What the library is to take for the boundary; None where there is none, or no text of it."""
    if tokenizer.boundary is None:
        return None
    text = tokenizer.decode([tokenizer.boundary])
    return text if tokenizer.encode(text).tolist() == [tokenizer.boundary] else None


def _library_fields(tokenizer: Tokenizer, boundary: str | None) -> dict[str, Any] | None:
    """Model, pre-tokenizer and decoder of the library that do the same, or None."""
    match tokenizer:
        case CharTokenizer():
            vocabulary: Sequence[str] = tokenizer.characters
            return _word_level(vocabulary, EACH_CHARACTER, {"type": "Fuse"})
        case WhitespaceTokenizer():
            return _word_level(tokenizer.words, WORDS, None)
        case ByteTokenizer():
            letters = [LETTER_OF[byte] for byte in range(256)]
            return _byte_level(letters, [], tokenizer.boundary, boundary)
        case BpeTokenizer():
            return _byte_level(tokenizer.vocabulary, tokenizer.merges, tokenizer.boundary, boundary)
    return None


def _word_level(
    vocabulary: Sequence[str], pre_tokenizer: dict[str, Any], decoder: dict[str, Any] | None
) -> dict[str, Any] | None:
    if UNKNOWN in vocabulary:
        return None
    numbers = {token: number for number, token in enumerate(vocabulary)}
    return {
        "pre_tokenizer": pre_tokenizer,
        "decoder": decoder,
        "model": {"type": "WordLevel", "vocab": numbers, "unk_token": UNKNOWN},
    }


def _byte_level(
    vocabulary: Sequence[str],
    merges: Sequence[tuple[str, str]],
    boundary: int | None,
    text: str | None,
) -> dict[str, Any] | None:
    if boundary is not None:
        token = vocabulary[boundary]
        if text is None or any(token in (left, right, left + right) for left, right in merges):
            return None
        # The library looks up an added token by its text, not in the alphabet of bytes.
        if text != token and text in vocabulary:
            return None
        vocabulary = [*vocabulary[:boundary], text, *vocabulary[boundary + 1 :]]
    settings = {"add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "pre_tokenizer": {"type": "ByteLevel", **settings},
        "decoder": {"type": "ByteLevel", **settings},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(vocabulary)},
            "merges": [list(pair) for pair in merges],
        },
    }


def _added(number: int | None, text: str) -> dict[str, Any]:
    """A token that the library finds in a text before all else."""
    return {
        "id": number,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _tokenizer(
    fields: Mapping[str, Any], vocabulary_size: int, eos: object
) -> tuple[Tokenizer, list[str]]:
    if fields.get("normalizer") is not None:
        raise InputError("its normalizer would change the text; none is read")
    model = _object(fields, "model")
    added = _added_tokens(fields)
    kind, pre_tokenizer = model.get("type", "BPE"), _object(fields, "pre_tokenizer")
    boundary = eos if type(eos) is int and eos in added else None
    others = [text for number, text in added.items() if number != boundary]
    numbers = _numbers(model, vocabulary_size)
    notes = []
    if others:
        notes = [f"only the end-of-text token is special here; {reprlib.repr(others)} are not"]
    if kind == "WordLevel" and pre_tokenizer in (EACH_CHARACTER, WORDS):
        if len(numbers) < vocabulary_size:
            raise InputError(f"it has {len(numbers)} tokens, the model {vocabulary_size}")
        tokens = sorted(numbers, key=numbers.__getitem__)
        if pre_tokenizer == WORDS:
            return WhitespaceTokenizer(tokens, boundary), notes
        if any(len(token) != 1 for token in tokens):
            raise InputError("a vocabulary of characters has one in each token")
        return CharTokenizer("".join(tokens), boundary), notes
    _require_byte_level(kind, model, pre_tokenizer)
    for number, text in added.items():
        if numbers.pop(text, number) != number:
            raise InputError(f"{reprlib.repr(text)} has two numbers")
        if number >= vocabulary_size:
            raise InputError(f"token {number} is none of the model's {vocabulary_size}")
        token = "".join(LETTER_OF[byte] for byte in text.encode("utf-8", "surrogatepass"))
        numbers[token] = number
    token_of = {number: token for token, number in numbers.items()}
    if len(token_of) < len(numbers):
        raise InputError("two of its tokens have the same number")
    vocabulary = [token_of.get(number, f"<|unused{number}|>") for number in range(vocabulary_size)]
    merges = _merges(model)
    if not merges and vocabulary == list(map(LETTER_OF.get, range(256))):
        return ByteTokenizer(boundary), notes
    return BpeTokenizer(vocabulary, merges, boundary), notes


def _require_byte_level(
    kind: object, model: Mapping[str, Any], pre_tokenizer: Mapping[str, Any]
) -> None:
    """InputError for what is no byte-level BPE as GPT-2's, each time with the setting's name."""
    if kind != "BPE" or pre_tokenizer.get("type") != "ByteLevel":
        raise InputError(
            f"its model is {reprlib.repr(kind)} after {reprlib.repr(pre_tokenizer.get('type'))}; "
            "read is GPT-2's, BPE after ByteLevel"
        )
    if pre_tokenizer.get("add_prefix_space", True):
        raise InputError("add_prefix_space would change the text")
    if pre_tokenizer.get("use_regex", True) is not True:
        raise InputError("use_regex must be true: words are split as GPT-2 does")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(key):
            raise InputError(f"its {key}={reprlib.repr(model[key])} is not GPT-2's")


def _object(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key)
    if not isinstance(value, dict):
        raise InputError(f"its {key} must be an object, not {reprlib.repr(value)}")
    return value


def _numbers(model: Mapping[str, Any], vocabulary_size: int) -> dict[str, int]:
    """The number of each token of the vocabulary."""
    numbers = _object(model, "vocab")
    for token, number in numbers.items():
        if type(number) is not int or not 0 <= number < vocabulary_size:
            raise InputError(
                f"token {reprlib.repr(token)} has number {reprlib.repr(number)}, "
                f"none of the model's {vocabulary_size}"
            )
    return dict(numbers)


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of tokens, which older files join by a space."""
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise InputError("its merges must be a list")
    pairs = []
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or {type(each) for each in pair} != {str}:
            raise InputError(f"{reprlib.repr(merge)} is no merge of two tokens")
        pairs.append((pair[0], pair[1]))
    return pairs


def _added_tokens(fields: Mapping[str, Any]) -> dict[int, str]:
    """Text by number of the tokens that are looked for before all else."""
    entries = fields.get("added_tokens") or []
    if not isinstance(entries, list):
        raise InputError("its added_tokens must be a list")
    added: dict[int, str] = {}
    for entry in entries:
        number, text = (
            (entry.get("id"), entry.get("content")) if isinstance(entry, dict) else (None, None)
        )
        if type(number) is not int or not isinstance(text, str) or not text or number < 0:
            raise InputError(f"{reprlib.repr(entry)} is no added token")
        if any(entry.get(key) for key in ("single_word", "lstrip", "rstrip")):
            raise InputError(f"the added token {reprlib.repr(text)} takes or leaves white space")
        if number in added:
            raise InputError(f"two added tokens have the number {number}")
        added[number] = text
    return added
