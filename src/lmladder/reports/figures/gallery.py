"""The pictures of a ladder's results, by the names of their files."""

from collections.abc import Mapping

from lmladder.reports.figures.calibration import calibration_panels
from lmladder.reports.figures.loss import loss_curves
from lmladder.reports.figures.perplexity import perplexity_by_parameters, perplexity_by_tokens
from lmladder.reports.figures.position import position_curves
from lmladder.reports.table import models_of, nats_by_model

import pandas as pd
from matplotlib.figure import Figure

# What each shows, in the order in which to look at them.
CAPTIONS = {
    "loss_curves": "How they learn, on sequences without context; the table gives every token some",
    "perplexity_parameters": "What size is worth",
    "perplexity_tokens": "What reading is worth",
    "perplexity_time": "What time is worth",
    "position": "Each point is the mean loss of tokens that have so much context",
    "calibration": "On the diagonal a model is as sure as it is right, above it too modest",
}


def result_pictures(
    table: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    positions: pd.DataFrame,
    calibration: pd.DataFrame,
    *,
    train_tokens: int,
) -> dict[str, Figure]:
    """All of `CAPTIONS` but that of time, which is no result.

    Parameters
    ----------
    table, positions, calibration : of `ladder_table`, `position_table`, `calibration_table`
    histories : the history.csv of each trained model
    train_tokens : of the training text
    """
    models = models_of(table)
    return {
        "loss_curves": loss_curves(models, histories, nats_by_model(table, "val")),
        "perplexity_parameters": perplexity_by_parameters(table, last_split(table)),
        "perplexity_tokens": perplexity_by_tokens(
            table, table["split"].iloc[0], histories, train_tokens
        ),
        "position": position_curves(models, positions),
        "calibration": calibration_panels(models, calibration),
    }


def last_split(table: pd.DataFrame) -> str:
    """The split that a ladder is judged by: the test text, where there is one."""
    return str(table["split"].iloc[-1])
