"""The report as a page: what it contains, and that no text in it becomes markup."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

from lmladder.reports.attention import Attention, maps_of
from lmladder.reports.colors import COLORS, contrast
from lmladder.reports.figures.loss import loss_curves
from lmladder.reports.html import Passage
from lmladder.reports.table import ladder_grid, ladder_table
from tests.reports.conftest import rows

import numpy as np
import pytest

HOSTILE = "</pre><script>alert(1)</script>&\"'"


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


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report())


def assert_inert(page):
    """All elements are closed in order, and only the script of the page runs."""
    assert page.open == []
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_the_page_loads_nothing_and_runs_only_its_own_script(report):
    text = report()
    page = Page(text)
    assert_inert(page)
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    markup, script, _ = re.split(r"<script>(.*)</script>", text, flags=re.DOTALL)
    assert set(re.findall(r"(?:https?:)?//[a-z][^\"' <]*", markup)) <= namespaces
    assert not re.search(r"@import|url\((?!#)", text)
    loading = {"src", "srcset", "href", "xlink:href", "data", "poster", "action"}
    addresses = [a[name] for _, a in page.elements for name in loading & a.keys()]
    assert addresses
    assert all(address.startswith("#") for address in addresses)
    headings = [f"#{a['id']}" for tag, a in page.elements if tag == "h2"]
    assert [a["href"] for tag, a in page.elements if tag == "a" and "href" in a] == headings
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert dict(page.elements)["meta"]["content"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'"
    )


def test_no_text_from_outside_becomes_markup(report, corpus, history, models):
    named = {"mlp": replace(models["mlp"], label=HOSTILE)}
    page = Page(
        report(
            title=HOSTILE,
            summary=HOSTILE,
            table=ladder_table(rows("test", 10, {HOSTILE: 1.0, "a|b\n| c": 0.5})),
            figures=[loss_curves(named, {"mlp": history}, {})],
            samples={HOSTILE: HOSTILE},
            passage=Passage([HOSTILE, HOSTILE], {HOSTILE: [1.0, 2.0]}),
            attention=Attention(HOSTILE, [HOSTILE] * 2, {HOSTILE: np.ones(1)}, 0.5),
            config=HOSTILE,
            corpus=corpus.model_copy(update={"name": HOSTILE, "tokenizer": HOSTILE}),
        )
    )
    assert_inert(page)
    # title twice, summary, model, sample and its name; of the figure name, caption, alternative;
    # passage of two, its model and the card's; configuration, corpus twice, tokenizer; of the
    # attention its model, predicted token, name, largest weight twice, and text of two
    assert page.text.count(HOSTILE) == 6 + 3 + 4 + 4 + 7


def test_figures_in_one_page_share_no_identifier(report, history, models):
    curves = loss_curves(models, {"mlp": history}, {})
    page = Page(report(figures=[curves, curves]))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names)) > 10
    used = {a[key][1:] for _, a in page.elements for key in ("href", "xlink:href") if key in a}
    assert used <= set(names)


def test_each_token_of_the_passage_has_its_loss_under_each_model_and_one_tab_stop(page):
    labels = [a for tag, a in page.elements if tag == "label" and "data-nats" in a]
    losses = ["0.1000 2.0000", "0.7000 3.5000", "10.0000 0.0000"]
    assert [each["data-nats"] for each in labels] == losses
    assert [each["class"] for each in labels] == ["piece k0", "piece k1", "piece k8"]
    inputs = [a for tag, a in page.elements if tag == "input"]
    assert [each["id"] for each in inputs if "checked" in each] == ["model-0"]  # the best
    assert [each["name"] for each in inputs] == ["model"] * 2 + ["token"] * 3


def test_a_map_colors_each_token_by_its_weight_and_names_the_largest():
    weights = np.array([0.0001, 0.2499, 0.25, 0.5])
    attention = Attention("T", ["a", "␣", "b", "c", "d"], {"Pointer": weights}, 0.1)
    ((_, runs, largest),) = maps_of(attention)
    assert runs == [(0, "a"), (5, " b"), (7, "c")]
    assert largest == (
        "50.00% to c of “a bc”, 1 back; 25.00% to b of “a b”, 2 back; 24.99% to ␣ of “a”, 3 back"
    )


def test_the_page_shows_the_table_the_corpus_and_the_samples_in_order(page, table):
    for row in ladder_grid(table).rows:
        for cell in row:
            assert cell in page.text
    for part in ("3,210", "3,300", "seed: 0", "1 token = 1 character"):
        assert part in page.text
    best = page.text.index("Once upon a time")
    assert 0 < best < page.text.index("Onthe a\N{REPLACEMENT CHARACTER}b")


def test_bars_have_enough_contrast_on_light_and_dark_pages(report):
    """At least 3, by WCAG 2.2; a test in a browser computes the contrast of text."""
    for page in re.findall(r"--page: ([^;]+);", report()):
        assert all(contrast(each, page) >= 3 for each in COLORS)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # known to fail
