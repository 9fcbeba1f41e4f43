"""Reliability diagrams."""

from lmladder import reports
from lmladder.reports import calibration_errors, calibration_table
from lmladder.scoring import Reliability
from tests.reports.figures.reading import texts

import numpy as np
import pytest


def test_each_model_has_a_panel_with_its_error(calibration):
    figure = reports.calibration_panels(calibration)
    assert len(figure.axes) == 6
    shown = texts(reports.as_svg(figure))
    assert {"Unigram", "Bigram", "Kneser-Ney 3", "Kneser-Ney 5", "MLP", "Transformer"} <= set(shown)
    errors = [f"ECE {error:.1%}" for error in calibration_errors(calibration).values()]
    assert [text for text in shown if text.startswith("ECE ")] == errors


def test_who_is_not_sure_enough_stands_above_the_diagonal(calibration):
    figure = reports.calibration_panels(calibration)
    (mlp,) = [axes for axes in figure.axes if axes.get_title("left") == "MLP"]
    confidence, accuracy = mlp.lines[-1].get_data()
    assert (accuracy > confidence)[:-1].all()


@pytest.mark.parametrize("models", [1, 4, 5, 9])
def test_any_number_of_models_can_be_drawn(models):
    one = Reliability.of(np.full(100, 0.5), np.arange(100) < 50)
    table = calibration_table({f"kneser_ney_{n}": one for n in range(1, models + 1)})
    figure = reports.calibration_panels(table)
    assert len(figure.axes) == models
    below = [axes.xaxis.get_tick_params()["labelbottom"] for axes in figure.axes]
    assert sum(below) == min(models, 4)


def test_bins_of_a_few_tokens_have_no_point():
    table = calibration_table({"mlp": Reliability.of(np.full(3, 0.5), np.ones(3, bool))})
    (axes,) = reports.calibration_panels(table).axes
    assert len(axes.lines[-1].get_xdata()) == 0
