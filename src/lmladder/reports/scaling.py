"""The output of `lmladder scaling`: the laws of each study as tables, JSON and figures."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from math import isnan, nan
from typing import Any

from lmladder.experiments.scaled_runs import FURTHER, Study
from lmladder.experiments.scaling import Fit, Law
from lmladder.reports.figures.scaling import entropy_figure, frontier_figure, loss_figure
from lmladder.reports.table import Grid, nats_with_error, whole

import numpy as np
from matplotlib.figure import Figure

SHARES = (1 / 16, 1 / 4, 1, FURTHER)  # of the compute of the largest run
VALUES: dict[str, Callable[[Law], float]] = {
    "E": lambda law: law.E,
    "a": lambda law: law.a,
    "b": lambda law: law.b,
    "growth": lambda law: law.growth,
}


def laws_grid(studies: Sequence[Study]) -> Grid:
    """Return the numbers of all laws, each with its 95% interval."""
    rows = []
    for study in studies:
        for method, fit in study.fits.items():
            law = fit.law
            cells = [with_interval(fit, value) for value in VALUES.values()]
            factors = [f"{law.A:.3g}", f"{law.B:.3g}", f"{fit.deviation:.4f}"]
            rows.append([study.name, str(len(study.runs)), method, *cells, *factors])
    titles = ("Study", "Runs", "Method", *VALUES, "A", "B", "Deviation")
    return Grid("L = E + A / N^a + B / D^b, with 95% intervals", titles, rows, 3)


def with_interval(fit: Fit, value: Callable[[Law], float]) -> str:
    """Format a value of a law; a value that was not fitted has no interval."""
    number, (low, high) = value(fit.law), fit.interval(value)
    return f"{number:.4f}" if low == high else f"{number:.3f} [{low:.3f}, {high:.3f}]"


def frontier(study: Study) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield method, compute, size, tokens and loss of the best models, by each law."""
    largest = max(each.flops for each in study.runs)
    for method, fit in study.fits.items():
        for share in SHARES:
            flops = np.array(largest * share)
            size, tokens = fit.law.optimum(flops)
            loss = fit.law.loss(size, tokens)
            yield method, float(flops), float(size), float(tokens), float(loss)


def frontier_grid(studies: Sequence[Study]) -> Grid:
    """Return the best models for the compute of the largest run, and for less and more."""
    rows = [
        [study.name, method, f"{flops:.2g}", whole(size), whole(tokens), nats_with_error(loss, nan)]
        for study in studies
        for method, flops, size, tokens, loss in frontier(study)
    ]
    titles = ("Study", "Method", "6 N D", "Parameters", "Tokens", "Loss")
    return Grid("The best model for a compute, by each law", titles, rows, 2)


def predictions_grid(studies: Sequence[Study]) -> Grid:
    """Return the predicted losses beside what was measured."""
    rows = [
        [
            study.name, each.method, whole(each.size), whole(each.tokens),
            "" if isnan(each.loss) else f"{each.loss:.4f} [{each.low:.4f}, {each.high:.4f}]",
            *(
                ("", "") if isnan(each.measured)
                else (f"{each.measured:.4f}", f"{each.loss - each.measured:+.4f}")
            ),
        ]
        for study in studies
        for each in study.predictions
    ]  # fmt: skip
    titles = ("Study", "Method", "Parameters", "Tokens", "Predicted", "Measured", "Difference")
    return Grid("Predicted losses, with 95% intervals", titles, rows, 2)


def to_json(studies: Sequence[Study]) -> str:
    """Return all runs, laws, intervals and predictions."""
    return json.dumps([_fields(each) for each in studies], indent=2)


def _fields(study: Study) -> dict[str, Any]:
    fits = {
        method: {
            **asdict(fit.law),
            "growth": fit.law.growth,
            "deviation": fit.deviation,
            "intervals": {name: fit.interval(value).tolist() for name, value in VALUES.items()},
        }
        for method, fit in study.fits.items()
    }
    names = ("method", "flops", "size", "tokens", "loss")
    best = [dict(zip(names, each, strict=True)) for each in frontier(study)]
    return {
        "name": study.name,
        "entropy": study.entropy,
        "fits": fits,
        "frontier": [_known(each) for each in best],
        "predictions": [_known(asdict(each)) for each in study.predictions],
        "runs": [asdict(each) for each in study.runs],
        "held_out": [asdict(each) for each in study.held_out],
    }


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with None instead of NaN, which JSON does not have."""
    return {
        name: None if isinstance(each, float) and isnan(each) else each
        for name, each in values.items()
    }


def figures(studies: Sequence[Study]) -> Mapping[str, Figure]:
    """Return the figures of all studies by name."""
    drawn = {}
    for study in studies:
        drawn[f"{study.name}_loss"] = loss_figure(study)
        drawn[f"{study.name}_frontier"] = frontier_figure(study)
    if any(study.entropy is not None for study in studies):
        drawn["entropy"] = entropy_figure(studies)
    return drawn
