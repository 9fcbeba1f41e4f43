"""Losses, perplexities, losses over context, and calibration: what each figure shows."""

import re

from lmladder.evaluation import Score
from lmladder.reports.detail import calibration_errors, excess_table, reliabilities
from lmladder.reports.figures.calibration import calibration_panels
from lmladder.reports.figures.gallery import truth_figures
from lmladder.reports.figures.loss import loss_curves
from lmladder.reports.figures.perplexity import perplexity_by_parameters
from lmladder.reports.figures.position import position_curves
from lmladder.reports.figures.style import as_svg
from lmladder.reports.table import Row, ladder_table
from tests.reports.figures.reading import texts

import numpy as np

BASELINES = {
    "uniform": 5.5, "unigram": 2.9, "bigram": 2.2, "kneser_ney_3": 1.3, "kneser_ney_5": 0.83,
}  # fmt: skip


def shown(figure):
    """Return the texts of a figure."""
    return set(texts(as_svg(figure)))


# --- Losses during training -----------------------------------------------------------------------


def test_each_loss_is_named_with_its_last_value_and_only_the_best_kneser_ney_drawn(models, history):
    histories = {"mlp": history, "transformer": history - 0.1}
    found = shown(loss_curves(models, histories, {**BASELINES, "oracle": 0.6}))
    end = history["val_loss"].iloc[-1]
    assert {f"MLP {end:.3f}", f"Transformer {end - 0.1:.3f}", "Oracle 0.600"} <= found
    assert {"Unigram 2.900", "Kneser-Ney 5 0.830"} <= found
    assert not re.search("Kneser-Ney 3|Uniform", " ".join(found))


# --- Perplexity -----------------------------------------------------------------------------------


def test_every_model_is_named_with_its_perplexity(models, table):
    figure = perplexity_by_parameters(models, table)
    expected = {"Transformer 2.014", "Kneser-Ney 5 2.293", "Uniform 256.0", "Oracle 1.845"}
    assert expected | {"Perplexity on the test text against parameters"} <= shown(figure)


def test_what_is_not_finite_is_left_out_and_one_model_can_be_drawn(models, table):
    infinite = table.assign(perplexity=table["perplexity"].where(table["model"] != "bigram"))
    infinite = infinite.fillna({"perplexity": np.inf})
    assert "Bigram" not in " ".join(shown(perplexity_by_parameters(models, infinite)))
    row = Row("oracle", "oracle", "prepare", "val", Score(10, 10, 7.0), None, None)
    table = ladder_table([row])
    assert "Oracle 2.014" in shown(perplexity_by_parameters(models, table))


def test_captions_of_losses_and_perplexities_compare_models(models, table, history):
    histories = {"mlp": history + 9, "transformer": history - 0.1}
    below = history["tokens"][history["val_loss"] - 0.1 < 0.83].iloc[0]
    assert loss_curves(models, histories, BASELINES).get_label() == (
        "Below Kneser-Ney 5, the best count model (0.830): MLP never, Transformer after "
        f"{below:,} tokens. Validation minus training loss at the end: MLP +0.020, Transformer "
        "+0.020."
    )
    caption = perplexity_by_parameters(models, table).get_label()
    assert caption == "No larger model has a higher perplexity."  # all have the same size
    larger = table.assign(parameters=table["parameters"].where(table["model"] != "bigram", 2e6))
    assert perplexity_by_parameters(models, larger).get_label() == (
        "Size alone does not decide: Bigram with 2,000,000 parameters has a higher perplexity than "
        "Transformer with 1,234,567."
    )


# --- Losses over context --------------------------------------------------------------------------


def test_each_curve_over_context_is_named_with_its_last_value(models, positions):
    figure = position_curves(models, positions)
    found = shown(figure)
    for model, name in (("mlp", "MLP"), ("transformer", "Transformer"), ("unigram", "Unigram")):
        assert f"{name} {positions[model].dropna().iloc[-1]:.3f}" in found
    assert {"1", "2", "4", "8", "16", "32", "64"} <= found
    assert "Kneser-Ney 5" in " ".join(found)
    assert "Kneser-Ney 3" not in " ".join(found)
    assert re.match(r"More context helps .*MLP up to \d+.* tokens; beyond", figure.get_label())


# --- Calibration ----------------------------------------------------------------------------------


def test_each_model_has_a_panel_with_its_calibration_error(models, calibration):
    figure = calibration_panels(models, reliabilities(calibration))
    found = shown(figure)
    names = ["unigram", "bigram", "kneser_ney_5", "mlp", "transformer"]  # the best Kneser-Ney
    assert [axes.get_title("left") for axes in figure.axes] == [models[k].label for k in names]
    errors = {f"ECE {calibration_errors(calibration)[name]:.1%}" for name in names}
    assert {text for text in found if text.startswith("ECE ")} == errors
    (mlp,) = [axes for axes in figure.axes if axes.get_title("left") == "MLP"]
    confidence, accuracy = mlp.lines[-1].get_data()
    assert (accuracy > confidence)[:-1].all()  # underconfident: above the diagonal
    assert "MLP is underconfident by " in figure.get_label()


def test_the_figures_of_the_truth_have_each_model_and_are_left_out_where_it_is_unknown(
    table, excess
):
    figures = truth_figures(table, excess)
    assert {"0.1000", "0.2000", "73%", "20%", "7%"} <= shown(figures["excess"])
    assert "recall: only one, and named before" in shown(figures["excess"])
    assert {"Transformer 0.365", "MLP 0.730", "Kneser-Ney 3 1.460"} <= shown(figures["recall"])
    assert {"true probability", "ECE 3.3%"} <= shown(figures["true_calibration"])
    assert "69.4% under Transformer, 48.2% under MLP" in figures["recall"].get_label()
    assert "Transformer where only one, and named before (73%)" in figures["excess"].get_label()
    assert truth_figures(table, excess_table([])) == {}
