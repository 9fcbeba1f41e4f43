"""Names in the margin of a figure do not overlap."""

from itertools import combinations

from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.style import styled, wide_figure
from lmladder.system.streams import stream

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


@pytest.mark.parametrize("seed", range(3))
@styled()
def test_names_overlap_neither_names_nor_axes_and_are_in_the_order_of_the_lines(seed):
    figure, axes = wide_figure()
    axes.set(xscale="log", yscale="log", xlim=(1, 1e4), ylim=(1, 100))
    heights = np.exp(stream(seed, "points").uniform(0.5, 2, size=10))
    name_lines(axes, [Label(f"model {i} 1.23", None, y, "k") for i, y in enumerate(heights)])
    figure.draw_without_rendering()  # places the names
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]  # without lines
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(axes.bbox.x1 < box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    named = [text.get_text() for text in sorted(axes.texts, key=lambda text: text.xyann[1])]
    assert named == [f"model {i} 1.23" for i in np.argsort(heights)]
