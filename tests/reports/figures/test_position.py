"""Nats by tokens of context."""

from lmladder import reports
from lmladder.evaluation import ContextLosses
from lmladder.reports import position_table
from tests.reports.figures.reading import texts

import numpy as np


def test_each_curve_is_named_with_what_it_ends_at(models, positions):
    shown = texts(reports.as_svg(reports.position_curves(models, positions)))
    for model, name in (("mlp", "MLP"), ("transformer", "Transformer"), ("unigram", "Unigram")):
        assert f"{name} {positions[model].dropna().iloc[-1]:.3f}" in shown
    assert {"1", "2", "4", "8", "16", "32", "64"} <= set(shown)


def test_of_several_kneser_ney_orders_the_best_is_drawn(models, positions):
    shown = " ".join(texts(reports.as_svg(reports.position_curves(models, positions))))
    assert "Kneser-Ney 5" in shown
    assert "Kneser-Ney 3" not in shown


def test_a_curve_ends_where_its_model_reads_no_further(models, positions):
    (axes,) = reports.position_curves(models, positions).axes
    ends = sorted(float(line.get_xdata()[-1]) for line in axes.lines)
    assert ends[0] < 8 < ends[1]


def test_a_context_of_one_token_and_one_row_can_be_drawn(models):
    table = position_table({"mlp": ContextLosses.of_sequences(np.ones((1, 1)))})
    assert "MLP 1.000" in texts(reports.as_svg(reports.position_curves(models, table)))


def test_a_model_that_is_never_surprised_can_be_drawn(models):
    nats = {"mlp": np.zeros((4, 4)), "transformer": np.ones((4, 4))}
    for names in (["mlp"], ["mlp", "transformer"]):
        table = position_table({name: ContextLosses.of_sequences(nats[name]) for name in names})
        assert reports.as_svg(reports.position_curves(models, table)).startswith("<svg")
