"""Figures of attention and of next tokens, and the labels of tokens in them."""

import unicodedata
import xml.etree.ElementTree as ElementTree

from lmladder import reports
from lmladder.data import ByteTokenizer, CharTokenizer, WordTokenizer
from lmladder.reports import as_svg, token_labels, visible
from lmladder.system.streams import stream
from tests.reports.figures.reading import texts

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = ["</text><script>", "$x^2$", "a\x00\x1b[31m", "\u202eabc", "\ufeff", "漢", "\u0301", ""]
LABELS = [visible(token) for token in HOSTILE]
TIME = len(HOSTILE)


def attention_figure(*arguments):
    return as_svg(reports.attention_figure(*arguments))


def next_token_figure(*arguments, **options):
    return as_svg(reports.next_token_figure(*arguments, **options))


def maps(n_layer=2, n_head=3, time=TIME):
    weights = np.tril(stream(0, "maps").random((n_layer, n_head, time, time))) + 0.01
    return weights / weights.sum(axis=-1, keepdims=True)


def images(svg):
    return list(ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}image"))


def assert_no_markup(svg):
    assert set(LABELS) - {""} <= set(texts(svg))
    tags = {element.tag.partition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert not tags & {"script", "foreignObject", "a"}


def test_every_head_of_every_layer_has_a_map_with_its_tokens():
    svg = attention_figure(maps(), LABELS)
    assert_no_markup(svg)
    shown = texts(svg)
    assert {f"Layer {layer}, head {head}" for layer in (1, 2) for head in (1, 2, 3)} <= set(shown)
    assert shown.count("$x^2$") == 2 * 3 * 2
    assert len(images(svg)) == 2 * 3 + 1  # and the scale


def test_bars_have_their_probabilities_and_that_of_all_others():
    shown = texts(
        next_token_figure("On", ["c", "e", "␣"], np.array([0.5, 0.25, 0.00001]), others=1234)
    )
    for text in ("50.00%", "25.00%", "<0.01%", "1,234 others", "Most likely tokens after “On”"):
        assert text in shown
    svg = next_token_figure("".join(HOSTILE), LABELS, np.full(TIME, 0.1), others=0)
    assert_no_markup(svg)
    assert not any("others" in text for text in texts(svg))


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
