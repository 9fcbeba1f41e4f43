"""The figures of a ladder's results, by the names of their files."""

from collections.abc import Mapping

from lmladder.reports.detail import reliabilities, true_calibration
from lmladder.reports.figures.calibration import calibration_panels
from lmladder.reports.figures.excess import excess_bars, recall_curves
from lmladder.reports.figures.loss import loss_curves
from lmladder.reports.figures.perplexity import perplexity_by_parameters
from lmladder.reports.figures.position import position_curves
from lmladder.reports.table import by_model, models_of, of_one_tokenizer

import pandas as pd
from matplotlib.figure import Figure

TRUE_CALIBRATION = """Calibration against the truth: true probability over confidence
Bars: share of the predictions. ECE: expected calibration error"""


def result_figures(
    table: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    positions: pd.DataFrame,
    calibration: pd.DataFrame,
) -> dict[str, Figure]:
    """Draw all figures except those of the truth, in the order in which they are shown.

    Parameters
    ----------
    table, positions, calibration : as of `ladder_table`, `position_table`, `calibration_table`
    histories : that of each model that is trained by steps, as in history.csv
    """
    models, table = models_of(table), of_one_tokenizer(table)  # others have other perplexities
    return {
        "perplexity_parameters": perplexity_by_parameters(models, table),
        "loss_curves": loss_curves(models, histories, by_model(table, "val", "nats_per_token")),
        "position": position_curves(models, positions),
        "calibration": calibration_panels(models, reliabilities(calibration)),
    }


def truth_figures(table: pd.DataFrame, excess: pd.DataFrame) -> dict[str, Figure]:
    """Draw the figures of an `excess_table`; none if it is empty, as the truth is not known."""
    if excess.empty:
        return {}
    models, calibration = models_of(table), true_calibration(excess)
    words = TRUE_CALIBRATION, "true probability"
    return {
        "excess": excess_bars(models, excess),
        "recall": recall_curves(models, excess),
        "true_calibration": calibration_panels(models, calibration, *words),
    }
