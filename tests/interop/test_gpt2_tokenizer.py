"""tokenizer.json: the library encodes as our tokenizers do, and ours as the library's."""

import json

from lmladder.data import build_tokenizer
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


def library(fields):
    return tokenizers.Tokenizer.from_str(json.dumps(fields))


def read(folder, fields, size, eos=None):
    (folder / "tokenizer.json").write_text(json.dumps(fields))
    return gpt2_tokenizer.read(folder, size, eos)


@pytest.mark.parametrize("separator", [None, "\n", "\x1e"], ids=repr)
@pytest.mark.parametrize("name", ["byte", "char", "bpe"])
def test_the_library_encodes_and_decodes_as_ours_which_can_be_read_again(name, separator, tmp_path):
    ours = build_tokenizer(tokenizer_settings(name), [[TEXT]], separator=separator)
    files = gpt2_tokenizer.written(ours, 8)
    theirs = library(files["tokenizer.json"])

    @same_examples
    @given(text=CHARACTERS if name == "char" else ANY_TEXT)
    def check(text):
        ids = ours.encode(text).tolist()
        assert theirs.encode(text, add_special_tokens=False).ids == ids
        assert theirs.decode(ids, skip_special_tokens=False) == text

    check()
    if name == "bpe":
        back = read(tmp_path, files["tokenizer.json"], ours.vocabulary_size, ours.eos)
        assert back.to_json() == ours.to_json()
    (tmp_path / gpt2_tokenizer.OURS).write_text(json.dumps(files[gpt2_tokenizer.OURS]))
    assert gpt2_tokenizer.read(tmp_path, 1, None).to_json() == ours.to_json()


def test_a_tokenizer_that_the_library_does_not_have_is_rejected():
    ours = build_tokenizer(tokenizer_settings("word"), [[TEXT]])
    with pytest.raises(InputError, match="does not have a tokenizer like word"):
        gpt2_tokenizer.written(ours, 8)


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
    ours = read(tmp_path_factory.getbasetemp(), GPT2, SIZE, SIZE - 1)
    ids = library(GPT2).encode(text).ids
    assert (ours.eos, ours.encode(text).tolist()) == (SIZE - 1, ids)
    assert ours.decode(ids) == text


def test_earlier_files_padded_vocabularies_and_further_special_tokens_are_read(tmp_path):
    merges = [" ".join(pair) for pair in GPT2["model"]["merges"]]
    model = {key: value for key, value in GPT2["model"].items() if key != "type"}
    earlier = {**GPT2, "model": {**model, "merges": merges}}
    assert read(tmp_path, earlier, SIZE).to_json() == read(tmp_path, GPT2, SIZE).to_json()
    padded = read(tmp_path, GPT2, SIZE + 5, SIZE - 1)
    assert padded.decode([SIZE + 4]) == f"<|unused{SIZE + 4}|>"
    assert padded.encode(TEXT).tolist() == library(GPT2).encode(TEXT).ids
    pad = {**GPT2["added_tokens"][0], "id": SIZE, "content": "<pad>"}
    more = {**GPT2, "added_tokens": [*GPT2["added_tokens"], pad]}
    assert read(tmp_path, more, SIZE + 1, SIZE - 1).decode([SIZE]) == "<pad>"


WRONG = {
    "a normalizer": (("normalizer",), {"type": "NFC"}, "normalizer is {'type': 'NFC'}"),
    "another model": (("model", "type"), "Unigram", "the tokenizers library"),
    "another splitter": (("pre_tokenizer", "type"), "Metaspace", "the tokenizers library"),
    "dropout": (("model", "dropout"), 0.1, "model is {'dropout': 0.1"),
    "a number twice": (("model", "vocab", "a"), 5, "one number each"),
    "a merge of unknown tokens": (("model", "merges", 0), "q zzz", "the tokenizers library"),
    "an added token that strips": (("added_tokens", 0, "lstrip"), True, "white space"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_give_other_tokens_is_rejected_in_one_line(case, tmp_path):
    path, value, message = WRONG[case]
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, with_value(GPT2, path, value), SIZE, SIZE - 1)
    assert "tokenizer.json" in str(error.value)
