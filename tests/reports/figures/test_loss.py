from dataclasses import replace

from lmladder import reports
from tests.reports.figures.reading import texts

import pytest

BASELINES = {
    "uniform": 5.5, "unigram": 2.9, "bigram": 2.2, "kneser_ney_3": 1.3, "kneser_ney_5": 0.83,
}  # fmt: skip


def loss_curves(*arguments, **options):
    return reports.as_svg(reports.loss_curves(*arguments, **options))


def test_each_line_is_named_with_what_it_ends_at(models, history):
    histories = {"mlp": history, "transformer": history - 0.1}
    svg = loss_curves(models, histories, {**BASELINES, "oracle": 0.6})
    end = history["val_loss"].iloc[-1]
    expected = {f"MLP {end:.3f}", f"Transformer {end - 0.1:.3f}", "Oracle 0.600", "Unigram 2.900"}
    assert expected <= set(texts(svg))


def test_of_several_kneser_ney_orders_only_the_best_is_drawn(models, history):
    names = " ".join(texts(loss_curves(models, {"mlp": history}, BASELINES)))
    assert "Kneser-Ney 5 0.830" in names
    assert "Kneser-Ney 3" not in names
    assert "Uniform" not in names
    assert "Oracle" not in names


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_run_that_has_hardly_begun_can_be_drawn(models, history, rows):
    assert loss_curves(models, {"mlp": history.iloc[:rows]}, {}).startswith("<svg")


def test_names_are_text_and_not_markup(models, history):
    named = {"mlp": replace(models["mlp"], label="<b>$x")}
    svg = loss_curves(named, {"mlp": history}, {})
    assert any(text.startswith("<b>$x") for text in texts(svg))
