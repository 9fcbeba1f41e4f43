"""tokenizer.json: the library encodes as our tokenizers do, and ours as the library's."""

import json

from lmladder.data import ByteTokenizer, CharTokenizer, WhitespaceTokenizer, build_tokenizer
from lmladder.data.tokenizers.bpe import BYTE_OF
from lmladder.interop import gpt2_tokenizer
from lmladder.system.errors import InputError
from tests.data.examples import tokenizer_settings
from tests.interop.examples import with_value

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = 'The cat\'s  cats, "naïve" 12 cats;\n\tthe 猫 and the \U0001f408 sat\r\n\n on the mat\x1e'
CHARACTERS = st.text(st.sampled_from(sorted(set(TEXT)))) | st.just(TEXT)
END = "<|endoftext|>"
PARTS = st.sampled_from(["the", " the", " cat", "\n", "  ", "'s", END, "naïve", "\x1e", " "])
ANY_TEXT = (
    CHARACTERS | st.lists(PARTS).map("".join) | st.text(st.characters(exclude_categories=["Cs"]))
)
same_examples = settings(derandomize=True, deadline=None, max_examples=40, database=None)


def build(name, separator=None):
    return build_tokenizer(tokenizer_settings(name), [[TEXT]], separator=separator)


def written(tokenizer):
    files, notes = gpt2_tokenizer.written(tokenizer, 8)
    assert notes == []
    assert set(files) == {"tokenizer.json", "tokenizer_config.json"}
    return files["tokenizer.json"]


def library(fields):
    return tokenizers.Tokenizer.from_str(json.dumps(fields))


def read(folder, fields, size, eos=None):
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    return gpt2_tokenizer.read(folder, size, eos)


# --- Ours to the library --------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [None, "\n", "\x1e"], ids=repr)
@pytest.mark.parametrize("name", ["byte", "char", "bpe"])
def test_the_library_encodes_and_decodes_as_ours_which_can_be_read_again(name, separator, tmp_path):
    ours = build(name, separator)
    fields = written(ours)
    theirs = library(fields)
    assert theirs.get_vocab_size() == ours.vocabulary_size

    @same_examples
    @given(text=CHARACTERS if name == "char" else ANY_TEXT)
    def check(text):
        ids = ours.encode(text).tolist()
        assert theirs.encode(text, add_special_tokens=False).ids == ids
        assert theirs.decode(ids, skip_special_tokens=False) == text

    check()
    if name == "char":
        with pytest.raises(Exception, match="UNK"):  # as ours rejects it
            theirs.encode("\u00ff")
    back, notes = read(tmp_path, fields, ours.vocabulary_size, ours.eos)
    assert notes == []
    assert back.to_json() == ours.to_json()


def test_words_between_white_space_are_those_of_the_library():
    ours = WhitespaceTokenizer(["the", "cat", "END"], eos=2)
    text = "the cat\nthe  cat END"
    assert library(written(ours)).encode(text).ids == ours.encode(text).tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    "ours",
    [build("word"), ByteTokenizer(200), WhitespaceTokenizer(["<unk>", "a"])],
    ids=["word", "eos in the middle of a character", "<unk> is a word"],
)
def test_a_tokenizer_that_the_library_does_not_have_is_stored_in_our_format(ours, tmp_path):
    files, (note,) = gpt2_tokenizer.written(ours, 8)
    assert set(files) == {"lmladder_tokenizer.json"}
    assert "lmladder_tokenizer.json" in note
    (tmp_path / "lmladder_tokenizer.json").write_text(json.dumps(files["lmladder_tokenizer.json"]))
    back, notes = gpt2_tokenizer.read(tmp_path, ours.vocabulary_size, None)
    assert notes == []
    assert back.to_json() == ours.to_json()


def test_a_reserved_word_made_of_characters_is_written():
    ours = CharTokenizer("<>knu")
    assert library(written(ours)).encode("<unk>").ids == ours.encode("<unk>").tolist()


# --- The library's to ours ------------------------------------------------------------------------


def as_gpt2():
    """Return a tokenizer that the library trained as GPT-2's was, its end-of-text token last."""
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    theirs.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=sorted(BYTE_OF), show_progress=False
    )
    theirs.train_from_iterator([TEXT] * 3, trainer)
    theirs.add_special_tokens([END])
    return json.loads(theirs.to_str())


GPT2 = as_gpt2()
SIZE = len(GPT2["model"]["vocab"]) + 1


@same_examples
@given(text=ANY_TEXT)
def test_we_encode_and_decode_as_the_library(text, tmp_path_factory):
    ours, notes = read(tmp_path_factory.getbasetemp(), GPT2, SIZE, SIZE - 1)
    assert (notes, ours.eos) == ([], SIZE - 1)
    ids = library(GPT2).encode(text).ids
    assert ours.encode(text).tolist() == ids
    assert ours.decode(ids) == text


def test_earlier_files_padded_vocabularies_and_further_special_tokens_are_read(tmp_path):
    merges = [" ".join(pair) for pair in GPT2["model"]["merges"]]
    model = {key: value for key, value in GPT2["model"].items() if key != "type"}
    earlier = {**GPT2, "model": {**model, "merges": merges}}
    assert read(tmp_path, earlier, SIZE)[0].to_json() == read(tmp_path, GPT2, SIZE)[0].to_json()

    padded, _ = read(tmp_path, GPT2, SIZE + 5, SIZE - 1)
    assert padded.vocabulary_size == SIZE + 5
    assert padded.decode([SIZE + 4]) == f"<|unused{SIZE + 4}|>"
    assert padded.encode(TEXT).tolist() == library(GPT2).encode(TEXT).ids

    pad = {**GPT2["added_tokens"][0], "id": SIZE, "content": "<pad>"}
    more = {**GPT2, "added_tokens": [*GPT2["added_tokens"], pad]}
    ours, (note,) = read(tmp_path, more, SIZE + 1, SIZE - 1)
    assert "'<pad>'" in note
    assert ours.decode([SIZE]) == "<pad>"


WRONG = {
    "a normalizer": (("normalizer",), {"type": "NFC"}, "its normalizer, {'type': 'NFC'}"),
    "another model": (("model", "type"), "Unigram", "'Unigram'"),
    "another splitter": (("pre_tokenizer", "type"), "Metaspace", "'Metaspace'"),
    "no splitter": (("pre_tokenizer",), None, "its pre_tokenizer must be objects"),
    "a space before": (("pre_tokenizer", "add_prefix_space"), True, "add_prefix"),
    "dropout": (("model", "dropout"), 0.1, "its dropout, 0.1, would give other tok"),
    "a number twice": (("model", "vocab", "a"), 5, "the same number"),
    "a number too high": (("model", "vocab", "a"), 10**9, "not one of the model's"),
    "a token beyond bytes": (("model", "vocab", "\u2603"), SIZE - 2, "number"),
    "a merge of unknown tokens": (("model", "merges", 0), "q zzz", "cannot read it"),
    "an added token that strips": (("added_tokens", 0, "lstrip"), True, "white space"),
    "an added token too high": (("added_tokens", 0, "id"), SIZE, "the numbers that"),
    "an added token of the vocabulary": (("added_tokens", 0, "content"), "a", "do not have the nu"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_give_other_tokens_is_rejected_in_one_line(case, tmp_path):
    path, value, message = WRONG[case]
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, with_value(GPT2, path, value), SIZE, SIZE - 1)
    assert "tokenizer.json" in str(caught.value)
