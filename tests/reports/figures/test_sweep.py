"""Scores of a sweep."""

from statistics import fmean, stdev

from lmladder.reports.figures.style import as_svg
from lmladder.reports.figures.sweep import sweep_curves
from tests.reports.figures.reading import texts

import pytest


def draw(**curves):
    return sweep_curves(curves, setting="transformer.n_layer", score="nats per token", caption="")


SCORES = {1: [1.0, 1.2, 1.1], 2: [0.5, 0.9], 4: [0.7]}


def test_points_are_means_and_bars_a_standard_deviation():
    (axes,) = draw(all=SCORES).axes
    (bars,) = axes.collections
    drawn = [segment[:, 1].tolist() for segment in bars.get_segments()]
    for scores, (low, high) in zip(SCORES.values(), drawn, strict=True):
        spread = stdev(scores) if len(scores) > 1 else 0.0
        assert (low, high) == pytest.approx((fmean(scores) - spread, fmean(scores) + spread))
    dots = axes.lines[0].get_xydata()
    assert sorted(dots[:, 1]) == sorted(score for scores in SCORES.values() for score in scores)


@pytest.mark.parametrize(
    ("values", "scale"),
    [([0.001, 0.01, 0.1], "log"), ([0, 1, 10, 100], "linear"), (["adamw", "muon"], "linear")],
    ids=str,
)
def test_the_axis_is_logarithmic_where_the_values_are_spaced_so(values, scale):
    (axes,) = draw(all={value: [1.0] for value in values}).axes
    assert axes.get_xscale() == scale
    assert [text.get_text() for text in axes.get_xticklabels()] == [str(each) for each in values]


def test_curves_are_named_and_differ_without_color():
    curves = {f"curve {n}": {1: [n + 1.0], 2 + n: [n + 2.0]} for n in range(9)}
    (axes,) = draw(**curves).axes
    drawn = [line for line in axes.lines if line.get_linestyle() != "None"]
    assert len({(line.get_marker(), line.get_linestyle()) for line in drawn}) == 9
    assert {f"curve {n} {n + 2:.3f}" for n in range(9)} <= set(texts(as_svg(draw(**curves))))
