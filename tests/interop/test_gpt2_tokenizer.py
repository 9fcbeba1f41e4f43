"""tokenizer.json: the library makes our tokens of it, we make the library's tokens of its own."""

import json
from pathlib import Path
from typing import Any

from lmladder.config import TokenizerConfig
from lmladder.data import (
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
    build_tokenizer,
)
from lmladder.data.tokenizers.bpe import BYTE_OF
from lmladder.interop import gpt2_tokenizer
from lmladder.system.errors import InputError

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

CONFIGS = {
    "byte": TokenizerConfig("byte", None, None),
    "char": TokenizerConfig("char", None, None),
    "bpe": TokenizerConfig("bpe", 400, None),
    "word": TokenizerConfig("word", None, "error"),
}
TEXT = 'The cat\'s  cats, "naïve" 12 cats;\n\tthe 猫 and the \U0001f408 sat\r\n\n on the mat\x1e'
LIBRARY = ("byte", "char", "bpe")
END = "<|endoftext|>"
same_examples = settings(derandomize=True, deadline=None, max_examples=60, database=None)
texts = st.text(st.sampled_from(sorted(set(TEXT)))) | st.lists(
    st.sampled_from(["the", " the", " cat", "\n", "  ", "'s", END, "naïve", "\x1e", " "])
).map("".join)


def built(name: str, boundary: str | None = None) -> Tokenizer:
    return build_tokenizer(CONFIGS[name], [[TEXT]], boundary=boundary)


def written(tokenizer: Tokenizer) -> dict[str, Any]:
    files, notes = gpt2_tokenizer.written(tokenizer, 8)
    assert notes == []
    assert set(files) == {"tokenizer.json", "tokenizer_config.json"}
    return json.loads(json.dumps(files["tokenizer.json"]))


def library(fields: dict[str, Any]) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(fields))


def read(folder: Path, fields: Any, size: int, eos: object = None) -> tuple[Tokenizer, list[str]]:
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    return gpt2_tokenizer.read(folder, size, eos)


# --- Ours to the library --------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", [None, "\n", "\x1e"])
@pytest.mark.parametrize("name", LIBRARY)
def test_the_library_gives_our_tokens_and_our_text(name: str, boundary: str | None) -> None:
    ours = built(name, boundary)
    theirs = library(written(ours))
    assert theirs.get_vocab_size() == ours.vocabulary_size

    @same_examples
    @given(text=st.text(st.sampled_from(sorted(set(TEXT)))) | st.just(TEXT))
    def check(text: str) -> None:
        ids = ours.encode(text).tolist()
        assert theirs.encode(text, add_special_tokens=False).ids == ids
        assert theirs.decode(ids, skip_special_tokens=False) == text

    check()


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@same_examples
@pytest.mark.parametrize("name", ["byte", "bpe"])
def test_any_text_has_our_tokens(name: str, text: str) -> None:
    ours = built(name)
    assert library(written(ours)).encode(text).ids == ours.encode(text).tolist()


def test_the_library_refuses_a_character_that_we_refuse() -> None:
    with pytest.raises(Exception, match="UNK"):
        library(written(built("char"))).encode("\u00ff")


def test_words_between_white_space_are_the_librarys_too() -> None:
    ours = WhitespaceTokenizer(["the", "cat", "END"], boundary=2)
    text = "the cat\nthe  cat END"
    assert library(written(ours)).encode(text).ids == ours.encode(text).tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("boundary", [None, "\n"])
@pytest.mark.parametrize("name", LIBRARY)
def test_our_tokenizer_comes_back(name: str, boundary: str | None, tmp_path: Path) -> None:
    ours = built(name, boundary)
    back, notes = read(tmp_path, written(ours), ours.vocabulary_size, ours.boundary)
    assert notes == []
    assert back.to_json() == ours.to_json()


def test_what_the_library_has_no_like_of_is_kept_as_ours(tmp_path: Path) -> None:
    ours = built("word")
    files, (note,) = gpt2_tokenizer.written(ours, 8)
    assert "lmladder_tokenizer.json" in note
    (tmp_path / "lmladder_tokenizer.json").write_text(json.dumps(files["lmladder_tokenizer.json"]))
    back, notes = gpt2_tokenizer.read(tmp_path, ours.vocabulary_size, None)
    assert notes == []
    assert back.to_json() == ours.to_json()


def test_a_boundary_that_the_library_could_not_find_is_kept_as_ours() -> None:
    for ours in (ByteTokenizer(200), CharTokenizer("<>knu"), WhitespaceTokenizer(["<unk>", "a"])):
        kept = set(gpt2_tokenizer.written(ours, 8)[0])
        assert (kept == {"lmladder_tokenizer.json"}) == (ours.name != "char")


# --- The library's to ours ------------------------------------------------------------------------


def as_gpt2() -> dict[str, Any]:
    """A tokenizer that the library trained as GPT-2's was, its end-of-text token last."""
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    theirs.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=sorted(BYTE_OF), show_progress=False
    )
    theirs.train_from_iterator([TEXT] * 3, trainer)
    theirs.add_special_tokens([END])
    fields: dict[str, Any] = json.loads(theirs.to_str())
    return fields


GPT2 = as_gpt2()
SIZE = len(GPT2["model"]["vocab"]) + 1


@given(text=texts | st.text(st.characters(exclude_categories=["Cs"])))
@same_examples
def test_we_give_the_tokens_of_the_library(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ours, notes = read(tmp_path_factory.getbasetemp(), GPT2, SIZE, SIZE - 1)
    assert notes == []
    ids = library(GPT2).encode(text).ids
    assert ours.encode(text).tolist() == ids
    assert ours.decode(ids) == text
    assert ours.boundary == SIZE - 1


def test_merges_of_older_files_are_joined_by_a_space(tmp_path: Path) -> None:
    merges = [" ".join(pair) for pair in GPT2["model"]["merges"]]
    model = {key: value for key, value in GPT2["model"].items() if key != "type"}
    old = {**GPT2, "model": {**model, "merges": merges}}
    assert read(tmp_path, old, SIZE)[0].to_json() == read(tmp_path, GPT2, SIZE)[0].to_json()


def test_a_vocabulary_that_is_padded_in_the_model_alone_is_padded_here(tmp_path: Path) -> None:
    ours, _ = read(tmp_path, GPT2, SIZE + 5, SIZE - 1)
    assert ours.vocabulary_size == SIZE + 5
    assert ours.decode([SIZE + 4]) == f"<|unused{SIZE + 4}|>"
    assert ours.encode(TEXT).tolist() == library(GPT2).encode(TEXT).ids


def test_further_special_tokens_are_told_of(tmp_path: Path) -> None:
    pad = {**GPT2["added_tokens"][0], "id": SIZE, "content": "<pad>"}
    fields = {**GPT2, "added_tokens": [*GPT2["added_tokens"], pad]}
    ours, (note,) = read(tmp_path, fields, SIZE + 1, SIZE - 1)
    assert "'<pad>'" in note
    assert ours.decode([SIZE]) == "<pad>"


def changed(*path: Any, value: Any) -> dict[str, Any]:
    fields: Any = json.loads(json.dumps(GPT2))
    at = fields
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return dict(fields)


WRONG: dict[str, tuple[Any, str]] = {
    "a normalizer": (
        changed("normalizer", value={"type": "NFC"}),
        "its normalizer, {'type': 'NFC'}",
    ),
    "another model": (changed("model", "type", value="Unigram"), "'Unigram'"),
    "another splitter": (changed("pre_tokenizer", "type", value="Metaspace"), "'Metaspace'"),
    "no splitter": (changed("pre_tokenizer", value=None), "its pre_tokenizer must be objects"),
    "a space before": (changed("pre_tokenizer", "add_prefix_space", value=True), "add_prefix"),
    "no words": (changed("pre_tokenizer", "use_regex", value=False), "use_regex"),
    "dropout": (changed("model", "dropout", value=0.1), "its dropout, 0.1, would give other tok"),
    "merges ignored": (changed("model", "ignore_merges", value=True), "ignore_merges"),
    "a number twice": (changed("model", "vocab", "a", value=5), "the same number"),
    "a number too high": (changed("model", "vocab", "a", value=10**9), "not one of the model's"),
    "a number that is none": (changed("model", "vocab", "a", value="5"), "expected u32"),
    "no vocabulary": (changed("model", "vocab", value=[]), "cannot read it: .* expected a map"),
    "a token beyond bytes": (changed("model", "vocab", "\u2603", value=SIZE - 2), "number"),
    "no merges": (changed("model", "merges", value=None), "library cannot read it"),
    "half a merge": (changed("model", "merges", 0, value=["a"]), "library cannot read it"),
    "a merge of three": (changed("model", "merges", 0, value="a b c"), "library cannot read it"),
    "a merge of nothing known": (changed("model", "merges", 0, value="q zzz"), "cannot read it"),
    "added tokens that are none": (changed("added_tokens", value=[1]), "library cannot read it"),
    "an added token without text": (changed("added_tokens", 0, "content", value=""), "numbers"),
    "an added token that strips": (changed("added_tokens", 0, "lstrip", value=True), "white space"),
    "an added token too high": (changed("added_tokens", 0, "id", value=SIZE), "the numbers that"),
    "an added token known otherwise": (
        changed("added_tokens", 0, "content", value="a"),
        "do not have the numbers that the library gives them",
    ),
    "a pattern that never ends": (
        changed("pre_tokenizer", value={"type": "Split", "pattern": {"Regex": "(a*)*b"}}),
        "after 'Split'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_give_other_tokens_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    fields, told = WRONG[case]
    with pytest.raises(InputError, match=told) as caught:
        read(tmp_path, fields, SIZE, SIZE - 1)
    assert "\n" not in str(caught.value)
    assert "tokenizer.json" in str(caught.value)
