"""Text of models as people can read it."""

import unicodedata

from lmladder.data import ByteTokenizer, CharTokenizer, WordTokenizer
from lmladder.reports.text import token_labels, visible

from hypothesis import given
from hypothesis import strategies as st


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=8))
def test_a_label_is_printable_and_has_no_control_characters(text):
    shown = visible(text)
    assert shown.isprintable()
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert (shown == "") == (text == "")
    shown.encode()


def test_a_part_of_a_character_is_named_by_its_number():
    tokenizer = ByteTokenizer()
    assert token_labels(tokenizer, tokenizer.encode("a é")) == ["a", "␣", "#195", "#169"]
    assert token_labels(CharTokenizer(" aé"), [2, 0]) == ["é", "␣"]
    words = WordTokenizer(["cat"], "unk")
    assert token_labels(words, words.encode("(cat dog")) == ["(", "#256", "␣cat", "␣<unk>"]
