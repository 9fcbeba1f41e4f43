"""Figures of scaling laws: losses over tokens and over compute, and fitted entropies."""

from collections.abc import Sequence

from lmladder.experiments.scaled_runs import FURTHER, Study
from lmladder.reports.colors import COLORS, GRAY, INK
from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.style import (
    DASHED,
    DOTTED,
    number,
    ruled,
    scale_losses,
    short,
    styled,
    title,
    wide_figure,
)
from lmladder.reports.table import MARKERS

import numpy as np
from matplotlib.figure import Figure

LINES = {"huber": DOTTED, "projection": DASHED, "known": "-"}


@styled()
def loss_figure(study: Study) -> Figure:
    """Draw each run over its tokens, and the law of the fit that knows most, a line a size."""
    figure, axes = wide_figure()
    law, floor = study.best_fit.law, study.entropy or 0.0
    sizes, lines, losses = sorted({each.size for each in study.runs}), [], []
    for index, size in enumerate(sizes):
        runs = [each for each in study.runs if each.size == size]
        tokens = [each.tokens for each in runs]
        excess = [each.loss - floor for each in runs]
        color = COLORS[index % len(COLORS)]
        axes.plot(
            tokens, excess, MARKERS[index % len(MARKERS)], color=color, markersize=4, alpha=0.7
        )
        along = np.geomspace(min(tokens), max(tokens), 50)
        fitted = law.loss(np.full_like(along, size), along) - floor
        axes.plot(along, fitted, color=color, linewidth=1.2)
        lines.append(
            Label(short(float(f"{size:.2g}")), float(along[-1]), float(fitted[-1]), color, "bold")
        )
        losses += [*excess, *fitted.tolist()]
    axes.set(xscale="log")
    number(axes.xaxis, (1, 2, 5))
    scale_losses(axes, losses, room=1.06)
    of = _quantity(study)
    axes.set(xlabel="tokens read in training", ylabel=f"{of}, nats per token")
    title(
        axes,
        f"{study.name}: {of} of each run, and the law",
        "A line for each number of parameters without embeddings.",
    )
    name_lines(axes, lines)
    figure.set_label(
        f"The law fits the runs of {study.name} with a deviation of "
        f"{study.best_fit.deviation:.4f} nats per token."
    )
    return figure


@styled()
def frontier_figure(study: Study) -> Figure:
    """Draw each run over its compute, and the least loss for a compute by each law."""
    figure, axes = wide_figure()
    floor, lines = study.entropy or 0.0, []
    for runs, color, marker in ((study.runs, GRAY, "."), (study.held_out, INK, "*")):
        axes.plot(
            [each.flops for each in runs], [each.loss - floor for each in runs],
            marker, color=color, markersize=5 if marker == "." else 9,
        )  # fmt: skip
    compute = [each.flops for each in study.runs]
    flops = np.geomspace(min(compute), FURTHER * max(compute), 50)
    losses = [each.loss - floor for each in (*study.runs, *study.held_out)]
    for index, (method, fit) in enumerate(study.fits.items()):
        best = fit.law.loss(*fit.law.optimum(flops)) - floor
        axes.plot(flops, best, color=COLORS[index], linestyle=LINES[method], linewidth=1.4)
        if best[-1] > 0:
            lines.append(Label(method, float(flops[-1]), float(best[-1]), COLORS[index], "bold"))
            losses += best.tolist()
    axes.set(xscale="log", xlabel="compute 6 N D")
    number(axes.xaxis, (1,))
    scale_losses(axes, losses, room=1.06)
    of = _quantity(study)
    axes.set_ylabel(f"{of}, nats per token")
    note = "Dots: runs. Lines: the least loss that each law predicts for a compute."
    note += " Star: a run that was not fitted." if study.held_out else ""
    title(axes, f"{study.name}: the best {of} for a compute", note)
    name_lines(axes, lines)
    best_fit = study.best_fit
    figure.set_label(
        f"By the fit {best_fit.method}, the best size grows with the compute to the power of "
        f"{best_fit.law.growth:.2f}."
    )
    return figure


def _quantity(study: Study) -> str:
    return "loss" if study.entropy is None else "excess over the entropy"


@styled()
def entropy_figure(studies: Sequence[Study]) -> Figure:
    """Draw the entropy that each method finds for each text, as a multiple of the true one."""
    figure, axes = wide_figure()
    shown = [each for each in studies if each.entropy is not None]
    inside = total = 0
    for row, study in enumerate(shown):
        for index, method in enumerate(("huber", "projection")):
            fit, entropy = study.fits[method], study.entropy or 1.0
            low, high = fit.interval(lambda law: law.E)
            y = row + 0.15 * (2 * index - 1)
            axes.plot([low / entropy, high / entropy], [y, y], color=COLORS[index], linewidth=1.5)
            axes.plot([fit.law.E / entropy], [y], MARKERS[index], color=COLORS[index])
            inside += low <= entropy <= high
            total += 1
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_yticks(range(len(shown)), [each.name for each in shown])
    axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel="fitted entropy / true entropy")
    axes.set_xlim(left=0)
    box = axes.get_position()
    axes.set_position((0.3, box.y0, 0.66, box.height))
    ruled(axes)
    title(axes, "The entropy that fits find", "Circles: huber. Squares: projection. Bars: 95%.")
    figure.set_label(f"{inside} of {total} intervals contain the true entropy.")
    return figure
