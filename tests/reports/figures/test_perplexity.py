"""Perplexity against what it costs."""

import re

from lmladder import reports
from lmladder.evaluation import Score
from lmladder.reports import Row, ladder_table
from tests.reports.figures.reading import texts

import numpy as np


def points(figure):
    """Where the models stand: the markers of the axes, which are lines of one point."""
    (axes,) = figure.axes
    drawn = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 1]
    return np.concatenate(drawn) if drawn else np.empty((0, 2))


def test_every_fitted_model_is_a_point_at_its_size_and_perplexity(table):
    figure = reports.perplexity_by_parameters(table, "test")
    fitted = table[(table["split"] == "test") & ~table["model"].isin(["uniform", "oracle"])]
    assert sorted(points(figure)[:, 1]) == sorted(fitted["perplexity"])
    assert set(points(figure)[:, 0]) == {1_234_567}
    shown = texts(reports.as_svg(figure))
    assert {"Transformer 2.014", "Kneser-Ney 5 2.293", "Uniform 256.0", "Oracle 1.845"} <= set(
        shown
    )
    assert "Perplexity on the test text against parameters" in shown


def test_a_model_stands_where_its_time_is_known_and_nowhere_else(table):
    figure = reports.perplexity_by_time(table, "val", {"mlp": 12.5, "nobody": 3.0})
    assert points(figure).tolist() == [[12.5, round(float(np.exp(0.9)), 6)]]


def test_tokens_are_those_read_to_the_end_and_curves_say_of_what_they_are(table, history):
    figure = reports.perplexity_by_tokens(table, "val", {"mlp": history}, 5_000)
    places = dict(points(figure)[:, ::-1].round(3).tolist())
    assert places[round(float(np.exp(0.9)), 3)] == history["tokens"].iloc[-1]
    assert places[round(float(np.exp(2.9)), 3)] == 5_000
    assert np.exp(0.7).round(3) not in places  # a model without a history
    (note,) = [text for text in texts(reports.as_svg(figure)) if "without context" in text]
    assert re.match("Points: the whole text. Curves: validation sequences", note)


def test_what_is_not_finite_or_has_nothing_read_is_left_out(table, history):
    table.loc[table["model"] == "bigram", "perplexity"] = np.inf
    shown = " ".join(texts(reports.as_svg(reports.perplexity_by_parameters(table, "test"))))
    assert "Bigram" not in shown
    figure = reports.perplexity_by_tokens(table, "val", {"mlp": history.iloc[:1]}, 5_000)
    assert "MLP" not in " ".join(texts(reports.as_svg(figure)))


def test_a_ladder_of_one_model_can_be_drawn():
    score = Score(tokens=10, bytes=10, nats=7.0)
    table = ladder_table([Row("unigram", "val", score, 5, None, kind="counts")])
    assert "Unigram 2.014" in texts(reports.as_svg(reports.perplexity_by_parameters(table, "val")))
    table = ladder_table([Row("oracle", "val", score, None, None)])
    assert reports.as_svg(reports.perplexity_by_parameters(table, "val")).startswith("<svg")


def test_names_are_text_and_not_markup(hostile_table):
    shown = texts(reports.as_svg(reports.perplexity_by_parameters(hostile_table, "test")))
    assert any("<script>" in text for text in shown)
