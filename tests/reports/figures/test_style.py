"""Properties of every figure."""

import re
import xml.etree.ElementTree as ElementTree

from lmladder.evaluation import Score
from lmladder.reports.figures.gallery import result_figures, truth_figures
from lmladder.reports.figures.style import as_svg
from lmladder.reports.figures.sweep import sweep_curves
from lmladder.reports.table import Row, ladder_table, models_of

import matplotlib
import pytest

SWEPT = {"n_layer=1": {0.001: [1.0, 1.1], 0.01: [0.8, 0.9], 0.1: [0.9, 0.95]}}


@pytest.fixture(scope="module")
def draw(table, models, history, positions, calibration, excess):
    """Return a function that draws a figure of each kind."""
    histories = {"mlp": history, "transformer": history}

    def draw():
        figures = {
            **result_figures(table, histories, positions, calibration),
            **truth_figures(table, excess),
            "sweep": sweep_curves(SWEPT, setting="a", score="nats", caption="Lower."),
        }
        return {name: as_svg(figure) for name, figure in figures.items()}

    return draw


def test_a_figure_can_be_embedded_and_is_the_same_whatever_the_users_settings(draw):
    drawn = draw()
    assert len(drawn) == 8
    for svg in drawn.values():
        assert svg.startswith('<svg role="img"')
        assert "<title></title>" not in svg
        assert "<metadata" not in svg
        namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert set(re.findall(r"https?://[^\"' ]*", svg)) <= namespaces
        elements = list(ElementTree.fromstring(svg).iter())
        tags = {each.tag.partition("}")[2] for each in elements}
        assert not tags & {"script", "foreignObject", "a"}
        ids = [each.get("id") for each in elements if each.get("id")]
        assert sorted(ids) == sorted(set(re.findall(r"(?:url\(|href=\")#([\w.-]+)", svg)))
    users = {"font.size": 30, "svg.hashsalt": None, "svg.fonttype": "path", "savefig.dpi": 30}
    with matplotlib.rc_context(users | {"axes.spines.top": True, "lines.linewidth": 9}):
        assert draw() == drawn


def test_models_of_one_kind_differ_in_color_and_marker():
    names = {"mlp": "mlp", "deep": "mlp", "wide": "mlp", "transformer": "transformer"}
    rows = [Row(n, k, n, "val", Score(1, 1, 1.0), 1, 1) for n, k in names.items()]
    models = models_of(ladder_table(rows)).values()
    assert len({model.color for model in models}) == len({each.marker for each in models}) == 4
