"""The pages in a real browser: they load nothing and overflow nowhere, and what moves works."""

import itertools
from pathlib import Path

from lmladder.evaluation import Score
from lmladder.reports.colors import AA
from lmladder.reports.figures.gallery import truth_figures
from lmladder.reports.html import Passage, render_surprisal
from tests import browser

import pytest
from matplotlib.figure import Figure

PROGRAM = browser.find()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium or Chrome"),
]

CARD = "(card => card.hidden ? '' : card.innerText)(document.querySelector('.card'))"
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
COLOR = "getComputedStyle(document.querySelector('.passage label')).backgroundColor"

DETAILS = """
    [...document.querySelectorAll("pre label")]
        .map(each => getComputedStyle(each, "::after").content)
        .filter(each => each !== "none")
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser.browsing(PROGRAM, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def show(page, tmp_path):
    """A function that opens the text of a page."""

    def show(text, *, width=1280, dark=False):
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        page.open(path, width=width, dark=dark)
        return page

    return show


def test_a_page_loads_nothing_fits_at_any_width_and_is_readable_in_light_and_dark(
    report, show, table, excess
):
    pieces = ["Long " * 40, "x" * 300, "\n", "שלום\u202e"]
    figure = Figure()
    figure.set_label("learning_rate=" * 9)
    text = report(
        figures=[figure, *truth_figures(table, excess).values()],
        samples={"mlp": "x" * 500, "transformer": "a b " * 99},
        passage=Passage(pieces, {"mlp": [2.0] * 4, "gru": [9.0] * 4}),
    )
    for width, dark in itertools.product((1280, 390), (False, True)):
        shown = show(text, width=width, dark=dark)
        assert shown.problems == []
        assert [address[:8] for address in shown.requests] == ["file:///"]
        assert shown.ask("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
        assert shown.ask("matchMedia('(prefers-color-scheme: dark)').matches") is dark
        found = shown.ask(CONTRAST)
        assert {"73%", "Pointer", "8+", "MLP"} <= {text for _, text in found}
        assert [each for each in found if each[0] < AA] == []


def test_a_column_is_sorted_by_size_in_both_directions(report, show):
    shown = show(report())
    cells = (
        "[...document.querySelector('.sortable').tBodies[0].rows].map(r => r.cells[1].innerText)"
    )
    for reverse in (False, True):
        shown.ask("document.querySelectorAll('.sortable thead button')[1].click()")
        values = [float(each) for each in shown.ask(cells)]
        assert values == sorted(values, reverse=reverse)


def test_a_token_shows_its_probabilities_to_mouse_and_keyboard(report, show):
    second = ".passage label:nth-of-type(2)"
    shown = show(report())
    assert shown.ask(CARD) == ""
    shown.point(second)
    assert "49.66%" in shown.ask(CARD)
    shown.ask("document.querySelector('#model-0').focus()")
    shown.point("h1")
    assert shown.ask(CARD) == ""
    shown.press("Tab")
    assert "90.48%" in shown.ask(CARD)
    shown.press("ArrowRight")
    assert "49.66%" in shown.ask(CARD)
    before = shown.ask(COLOR)
    shown.ask("document.querySelector('#model-1').click()")
    assert shown.ask(COLOR) != before


def test_the_page_of_a_score_shows_a_probability_to_mouse_keyboard_and_touch(show):
    pieces = [("a", 0.7), ("b", 0.1), ("c", 9.0)]
    shown = show(render_surprisal("mlp", Score(3, 3, 9.8), pieces), width=390)
    assert shown.ask(DETAILS) == []
    shown.press("Tab")
    assert ["49.66%" in each for each in shown.ask(DETAILS)] == [True]
    shown.press("ArrowRight")
    assert ["90.48%" in each for each in shown.ask(DETAILS)] == [True]
    shown.point("pre label")
    assert ["49.66%" in each for each in shown.ask(DETAILS)] == [True]
    shown.point("h1")
    shown.touch("pre label:nth-of-type(3)")
    assert ["0.01%" in each for each in shown.ask(DETAILS)] == [True]
