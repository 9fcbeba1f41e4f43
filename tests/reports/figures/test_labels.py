"""Names in a figure hide neither one another nor what they name."""

from itertools import combinations

from lmladder.reports.figures.labels import Label, _apart, name_lines, name_points
from lmladder.system.streams import stream

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@pytest.fixture
def axes():
    figure = Figure(figsize=(8, 4.5))
    return figure.add_axes((0.1, 0.1, 0.7, 0.8), xscale="log", yscale="log")


def boxes(axes):
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    return {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}


def overlapping(boxes):
    return [(a, b) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]


def test_labels_of_close_lines_keep_their_distance_and_their_order():
    wanted = [-0.02, 0.0, 0.01, 0.3, 0.31, 0.9]
    places = _apart(wanted, 0.05)
    assert (np.diff(places) >= 0.05 - 1e-12).all()
    assert places[0] >= 0
    assert places[-1] == pytest.approx(0.9)
    assert places[3:5] == pytest.approx([0.28, 0.33])


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_names_of_lines_stand_in_the_margin_as_high_as_their_ends(axes, scale):
    axes.set(xlim=(1, 100), ylim=(1, 100), yscale=scale)
    name_lines(axes, [Label("low", 100, 10, "k"), Label("high", None, 60, "k")])
    for name, box in boxes(axes).items():
        middle = axes.transData.inverted().transform(
            ((box.x0 + box.x1) / 2, box.y0 + box.height / 2)
        )
        assert middle[0] > 100
        assert middle[1] == pytest.approx({"low": 10, "high": 60}[name], rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_names_of_points_overlap_neither_names_nor_points_nor_lines(axes, seed):
    axes.set(xlim=(1, 1e4), ylim=(1, 100))
    axes.axhline(50)
    drawn = np.exp(stream(seed, "points").uniform(0.5, 4, size=(8, 2))) * (10, 1)
    points = [Label(f"model {i} 1.23", x, y, "k") for i, (x, y) in enumerate(drawn)]
    name_points(axes, points)
    found = boxes(axes)
    assert overlapping(found) == []
    places = axes.transData.transform(drawn)
    line = axes.transData.transform((1, 50))[1]
    for box in found.values():
        assert not box.count_contains(places)
        assert not box.y0 < line < box.y1


def test_two_points_in_one_place_are_both_named_apart(axes):
    axes.set(xlim=(1, 1e4), ylim=(1, 100))
    name_points(axes, [Label("one 5.56", 100, 10, "k"), Label("other 5.36", 100, 9.7, "k")])
    assert overlapping(boxes(axes)) == []


def test_names_stay_on_the_page(axes):
    name_lines(axes, [])
    name_points(axes, [])
    assert boxes(axes) == {}
    axes.set(xlim=(1, 1e4), ylim=(1, 100))
    name_points(axes, [Label("a name of some length", 9999, 99, "k")])
    (box,) = boxes(axes).values()
    page = axes.figure.bbox
    assert page.x0 <= box.x0
    assert box.x1 <= page.x1
    assert box.y1 <= page.y1
