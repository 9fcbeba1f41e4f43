"""Names in a figure hide neither one another nor what they name."""

from itertools import combinations

from lmladder.reports.figures.labels import Label, name_points
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


def test_names_stay_on_the_page(axes):
    axes.set(xlim=(1, 1e4), ylim=(1, 100))
    name_points(axes, [Label("a name of some length", 9999, 99, "k")])
    (box,) = boxes(axes).values()
    page = axes.figure.bbox
    assert page.x0 <= box.x0
    assert box.x1 <= page.x1
    assert box.y1 <= page.y1
