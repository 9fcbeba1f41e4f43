"""Reliability diagrams."""

from lmladder import reports
from lmladder.evaluation import Reliability
from lmladder.reports import calibration_errors, calibration_table
from tests.reports.figures.reading import texts

import numpy as np
import pytest


def test_each_model_has_a_panel_with_its_error(models, calibration):
    figure = reports.calibration_panels(models, calibration)
    assert len(figure.axes) == 6
    shown = texts(reports.as_svg(figure))
    assert {"Unigram", "Bigram", "Kneser-Ney 3", "Kneser-Ney 5", "MLP", "Transformer"} <= set(shown)
    errors = [f"ECE {error:.1%}" for error in calibration_errors(calibration).values()]
    assert [text for text in shown if text.startswith("ECE ")] == errors


def test_who_is_not_sure_enough_is_above_the_diagonal(models, calibration):
    figure = reports.calibration_panels(models, calibration)
    (mlp,) = [axes for axes in figure.axes if axes.get_title("left") == "MLP"]
    confidence, accuracy = mlp.lines[-1].get_data()
    assert (accuracy > confidence)[:-1].all()


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_any_number_of_models_can_be_drawn(models, count):
    one = Reliability.of(np.full(100, 0.5), np.arange(100) < 50)
    names = [f"kneser_ney_{order}" for order in range(1, count + 1)]
    figure = reports.calibration_panels(
        dict.fromkeys(names, models["kneser_ney_3"]), calibration_table(dict.fromkeys(names, one))
    )
    assert len(figure.axes) == count
    below = [axes.xaxis.get_tick_params()["labelbottom"] for axes in figure.axes]
    assert sum(below) == min(count, 4)


def test_bins_of_a_few_tokens_have_no_point(models):
    table = calibration_table({"mlp": Reliability.of(np.full(3, 0.5), np.ones(3, bool))})
    (axes,) = reports.calibration_panels(models, table).axes
    assert len(axes.lines[-1].get_xdata()) == 0
