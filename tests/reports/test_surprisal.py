"""The page on which a text is colored by how much it surprised a model."""

import math
import re

from lmladder.evaluation import Score
from lmladder.reports.html import render_surprisal
from tests.reports.test_html import Page

import pytest

PIECES = [("O", 0.001), ("n", 0.7), (" ", 2.0), ("é", 5.5), ("\n", 50.0), ("<b>", 0.0)]


def page(pieces=PIECES, model="transformer"):
    return render_surprisal(model, Score(6, 9, sum(nats for _, nats in pieces)), pieces)


def test_every_piece_has_its_loss_its_probability_and_a_color_that_grows_with_it():
    pieces = [a for _, a in Page(page()).elements if "data-tooltip" in a]
    found = [re.search(r"([\d.]+) nats", each["data-tooltip"])[1] for each in pieces]
    assert [float(nats) for nats in found] == [nats for _, nats in PIECES]
    assert pieces[1]["data-tooltip"].startswith(f"{math.exp(-0.7):.2%}")
    assert pieces[4]["data-tooltip"].startswith("<0.01%")
    assert [each["class"][-2:] for each in pieces] == ["k0", "k1", "k2", "k7", "k8", "k0"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>&amp;\"'", "<script>alert(1)</script>&amp;\"'"),
        ("\x00\x1b[31m\r\u202eb\n", "U+0000U+001B[31mU+000DU+202Eb↵\n"),
    ],
    ids=ascii,
)
def test_hostile_text_is_shown_and_the_page_loads_and_runs_nothing(text, shown):
    found = Page(page([(text, 1.0), (text, 2.0)], model=text))
    assert shown * 2 in found.text
    assert found.open == []
    assert not {tag for tag, _ in found.elements} & {"script", "link", "img", "iframe", "form"}
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    policy = [attributes.get("content") for tag, attributes in found.elements if tag == "meta"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in policy
