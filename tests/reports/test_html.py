import re
from dataclasses import replace
from html.parser import HTMLParser

from lmladder.reports import as_svg, loss_curves, render_report
from lmladder.reports.table import shown

import pytest


class Page(HTMLParser):
    """What a browser sees: elements with their attributes, and text."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def report(table, history, corpus):
    """A function that renders the page, with some arguments changed."""
    arguments = {
        "title": "The ladder of tales",
        "summary": "It went well.",
        "table": table,
        "figure": as_svg(loss_curves({"mlp": history}, {"unigram": 2.9}, oracle=0.6)),
        "samples": {"transformer": "Once upon a time", "bigram": "Onthe a\x00b"},
        "corpus": corpus,
        "config": "seed: 0\n",
    }
    return lambda **changes: render_report(**(arguments | changes))


def test_the_same_input_gives_the_same_bytes(report):
    assert report() == report()


def test_every_element_is_closed_in_order(report):
    page = Page(report())
    assert page.open == []


def test_the_page_loads_nothing_and_runs_nothing(report):
    text = report()
    page = Page(text)
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"(?:https?:)?//[a-z][^\"' <]*", text)) <= namespaces
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    policy = dict(page.elements)["meta"]["content"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_no_text_from_outside_becomes_markup(report, hostile, hostile_table, corpus):
    page = Page(
        report(
            title=hostile,
            summary=hostile,
            table=hostile_table,
            samples={hostile: hostile},
            config=hostile,
            protocol=hostile,
            corpus=replace(corpus, name=hostile, tokenizer=hostile),
        )
    )
    assert "script" not in {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.open == []
    assert page.text.count(hostile) == 10  # a title stands twice


def test_names_in_the_figure_do_not_become_markup_either(report, history, hostile):
    page = Page(report(figure=as_svg(loss_curves({hostile: history}, {}, oracle=None))))
    assert "script" not in {tag for tag, _ in page.elements}
    assert hostile in page.text


def test_the_page_shows_all_numbers_of_the_table(report, table):
    text = Page(report()).text
    for row in table.to_dict("records"):
        for cell in shown(row):
            assert cell in text


def test_the_page_shows_corpus_configuration_and_samples_in_the_ladders_order(report):
    text = Page(report()).text
    for part in ("tales", "3,210", "3,300", "seed: 0", "scored exactly once"):
        assert part in text
    assert 0 < text.index("Onthe a\N{REPLACEMENT CHARACTER}b") < text.index("Once upon a time")


def test_what_is_missing_leaves_no_empty_heading(report):
    text = Page(report(figure=None, samples={})).text
    assert "How they learn" not in text
    assert "What they write" not in text
