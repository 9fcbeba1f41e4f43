"""The figures of a ladder's results, by the names of their files."""

from collections.abc import Mapping

from lmladder.reports.detail import calibration_table, true_calibration
from lmladder.reports.figures.calibration import calibration_panels
from lmladder.reports.figures.excess import excess_bars, recall_curves
from lmladder.reports.figures.loss import loss_curves
from lmladder.reports.figures.perplexity import perplexity_by_parameters, perplexity_by_tokens
from lmladder.reports.figures.position import position_curves
from lmladder.reports.table import by_model, models_of

import pandas as pd
from matplotlib.figure import Figure

# The captions, in the order in which the figures are shown.
CAPTIONS = {
    "loss_curves": "Loss during training, on sequences that begin without context",
    "perplexity_parameters": "Perplexity over parameters",
    "perplexity_tokens": "Perplexity over tokens read in training",
    "perplexity_time": "Perplexity over training time",
    "position": "Loss over context: each point is the mean of the tokens with that much context",
    "calibration": "Calibration: on the diagonal, confidence equals accuracy; above it, a model is "
    "underconfident",
    "excess": "Where the loss is: the divergence from the true distribution, by kind of token, on "
    "stories that the grammar generates for this measurement",
    "recall": "Recall: the loss of what a story names again, over the distance to its last mention",
    "true_calibration": "Calibration against true probabilities, which no chance of the text blurs",
}
TRUE_CALIBRATION = """Calibration against the truth: true probability over confidence
Bars: share of the predictions. ECE: expected calibration error."""


def result_figures(
    table: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    positions: pd.DataFrame,
    calibration: pd.DataFrame,
    *,
    train_tokens: int,
) -> dict[str, Figure]:
    """Draw all figures of `CAPTIONS` except that of time, which is not a result.

    Parameters
    ----------
    table, positions, calibration : as of `ladder_table`, `position_table`, `calibration_table`
    histories : the history.csv of each trained model
    train_tokens : number of tokens of the training text
    """
    models = models_of(table)
    return {
        "loss_curves": loss_curves(models, histories, by_model(table, "val", "nats_per_token")),
        "perplexity_parameters": perplexity_by_parameters(table, last_split(table)),
        "perplexity_tokens": perplexity_by_tokens(
            table, table["split"].iloc[0], histories, train_tokens
        ),
        "position": position_curves(models, positions),
        "calibration": calibration_panels(models, calibration),
    }


def truth_figures(table: pd.DataFrame, excess: pd.DataFrame) -> dict[str, Figure]:
    """Draw the figures of an `excess_table`; none if it is empty, as the truth is not known."""
    if excess.empty:
        return {}
    models, calibration = models_of(table), calibration_table(true_calibration(excess))
    return {
        "excess": excess_bars(models, excess),
        "recall": recall_curves(models, excess),
        "true_calibration": calibration_panels(
            models, calibration, TRUE_CALIBRATION, "true probability"
        ),
    }


def last_split(table: pd.DataFrame) -> str:
    """Return the split by which a ladder is judged: the test text, if there is one."""
    return str(table["split"].iloc[-1])
