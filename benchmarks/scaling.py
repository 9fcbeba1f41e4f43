"""Fit L = E + A / N^a + B / D^b to the models of a sweep (docs/scaling.md).

    python benchmarks/scaling.py outputs/sweeps/transformer -o figures
    python benchmarks/scaling.py results/scaling/tales.csv --held-out 1000000
    python benchmarks/scaling.py --coverage 200             # do the intervals contain the truth?

L is the loss on the whole validation text, N the number of parameters without embeddings, D the
number of tokens read in training. Each model is scored once; the scores are kept in scaling.csv in
the folder of the sweep. The methods are those of scaling_laws.py.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts
from benchmarks.scaling_laws import FLOPS, METHODS, Fit, Law, Points, cells_of, fit
from lmladder.data import Prepared
from lmladder.evaluation.ladder import split_nll
from lmladder.models import NeuralLanguageModel, restore_models
from lmladder.nn import Embedding, NgramEmbedding
from lmladder.reports.colors import COLORS
from lmladder.reports.figures.style import (
    as_svg,
    number,
    scale_losses,
    short,
    styled,
    title,
    wide_figure,
)
from lmladder.system.errors import InputError, LadderError
from lmladder.system.files import atomic_write, make_folder, sha256
from lmladder.system.progress import CountingProgress
from lmladder.system.streams import stream
from lmladder.training.checkpoint import LATEST, Checkpoint

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

RESULTS = measure.FOLDER.parent / "results" / "scaling"
HELD_OUT = {"tales": 1_000_000}  # parameters from which a run is predicted, not fitted
SHARES = (1 / 16, 1 / 4, 1, 4)  # of the compute of the largest run
VALUES: dict[str, Callable[[Law], float]] = {
    "E": lambda law: law.E,
    "a": lambda law: law.a,
    "b": lambda law: law.b,
    "growth": lambda law: law.growth,
}


def read_runs(target: Path, prepared: Path) -> pd.DataFrame:
    """Return a table of runs, or the trained runs below a folder, which are scored if not yet.

    Raises
    ------
    InputError
        If there is none, or one was trained on another text than that in the folder `prepared`.
    """
    path = target if target.suffix == ".csv" else target / "scaling.csv"
    runs = pd.read_csv(path) if path.is_file() else pd.DataFrame({"checkpoint": []})
    checkpoints = [] if path == target else sorted(target.rglob(LATEST))
    with CountingProgress("scaling", "runs", len(checkpoints)) as progress:
        for each in checkpoints:
            digest = sha256(each)[:16]
            if digest not in set(runs["checkpoint"]):
                scored = _scored(Checkpoint.load(each), Prepared.open(prepared), each)
                runs = pd.concat([runs, pd.DataFrame([scored | {"checkpoint": digest}])])
                atomic_write(path, runs.to_csv(index=False).encode())
            progress.advance(1)
    if runs.empty:
        raise InputError(f"no trained model in {target}")
    return runs


def _scored(checkpoint: Checkpoint, prepared: Prepared, path: Path) -> Facts:
    if checkpoint.data_digest != prepared.digest:
        raise InputError(f"{path} was trained on another text than that of {prepared.directory}")
    (model,), tables = restore_models(checkpoint).values(), 0
    if not isinstance(model, NeuralLanguageModel):
        raise InputError(f"{path} was not trained in steps")
    for _, each in model.modules():
        tables += each.n_parameters if isinstance(each, Embedding | NgramEmbedding) else 0
    facts = prepared.corpus.splits["val"]
    # With most of the context, so that almost all stories are scored from their beginnings.
    nats = split_nll(model, prepared, "val", min_context=0.8, batch_tokens=8192)
    return {
        "model": checkpoint.name,
        "seed": checkpoint.seed,
        "parameters": model.n_parameters,
        "size": model.n_parameters - tables,
        "tokens": checkpoint.history[-1]["tokens"],
        "loss": round(float(nats.mean()), 6),
        "entropy": round(facts.oracle.nats / facts.tokens, 6) if facts.oracle else math.nan,
        "text": prepared.digest[:16],
    }


@dataclass(frozen=True)
class Study:
    """The laws of the runs of one model on one text, by method, and runs that were not fitted."""

    name: str
    runs: pd.DataFrame
    held_out: pd.DataFrame
    fits: dict[str, Fit]

    @property
    def entropy(self) -> float:
        """The true entropy of the text; NaN if it is not known."""
        return float(self.runs["entropy"].iloc[0])


def points_of(runs: pd.DataFrame) -> Points:
    return np.asarray(runs[["size", "tokens", "loss"]].to_numpy(float).T)


def study(name: str, runs: pd.DataFrame, held_out: float, resamples: int) -> Study:
    """Fit the laws of one model to the runs with fewer parameters than `held_out`."""
    if runs["text"].nunique() > 1:
        raise InputError(f"{name}: the runs were scored on different texts")
    fitted, apart = runs[runs["size"] < held_out], runs[runs["size"] >= held_out]
    entropy = float(runs["entropy"].iloc[0])
    methods = METHODS[: 2 if math.isnan(entropy) else 3]
    points = points_of(fitted)
    fits = {each: fit(points, each, entropy, resamples=resamples) for each in methods}
    return Study(name, fitted, apart, fits)


def committed(name: str, resamples: int = 500) -> Study:
    runs = read_runs(RESULTS / f"{name}.csv", RESULTS)
    return study(name, runs, HELD_OUT.get(name, math.inf), resamples)


def laws(studies: Sequence[Study]) -> str:
    """Return the numbers of all laws, each with its 95% interval."""
    rows: list[Facts] = []
    for each in studies:
        for method, found in each.fits.items():
            row: Facts = {"text": each.name, "runs": len(each.runs), "method": method}
            for name, value in VALUES.items():
                low, high = found.interval(value)
                row[name] = f"{value(found.law):.3f}"
                row[name] += "" if low == high else f" [{low:.3f}, {high:.3f}]"
            rows.append(row | {"deviation": f"{found.deviation:.4f}"})
    return measure.markdown(rows)


def predictions(studies: Sequence[Study]) -> str:
    """Return the losses that laws predict of runs that were not fitted, with 95% intervals."""
    rows: list[Facts] = []
    for each in studies:
        for method, found in each.fits.items():
            sizes, tokens, losses = points_of(each.held_out)
            lows, highs = found.interval(partial(Law.loss, sizes=sizes, tokens=tokens))
            columns = (sizes, tokens, found.law.loss(sizes, tokens), lows, highs, losses)
            for n, d, loss, low, high, measured in zip(*columns, strict=True):
                row: Facts = {"method": method, "parameters": int(n), "tokens": int(d)}
                row["predicted"] = f"{loss:.4f} [{low:.4f}, {high:.4f}]"
                rows.append(row | {"measured": f"{measured:.4f}"})
    return measure.markdown(rows) if rows else ""


def frontier(studies: Sequence[Study]) -> str:
    """Return the best models for the compute of the largest run, and for less and more."""
    rows: list[Facts] = []
    for each in studies:
        for method, found in each.fits.items():
            for share in SHARES:
                flops = share * FLOPS * float((each.runs["size"] * each.runs["tokens"]).max())
                size, tokens = found.law.optimum(flops)
                row = {"text": each.name, "method": method, "6 N D": f"{flops:.2g}"}
                row |= {"parameters": f"{size:,.0f}", "tokens": f"{tokens:,.0f}"}
                rows.append(row | {"loss": f"{found.law.loss(size, tokens):.4f}"})
    return measure.markdown(rows)


def entropies(studies: Sequence[Study]) -> str:
    """Return the entropies that fits find beside the true ones."""
    rows: list[Facts] = []
    for each in studies:
        rows.append({"text": each.name, "entropy": f"{each.entropy:.3f}"})
        for method in METHODS[:2]:
            low, high = each.fits[method].interval(VALUES["E"])
            rows[-1][method] = f"{each.fits[method].law.E:.3f} [{low:.3f}, {high:.3f}]"
    return measure.markdown(rows)


def coverage(simulations: int) -> str:
    """Return how many 95% intervals of simulated runs contain the value of the law.

    The losses of the runs of results/scaling/tales.csv follow the law that was fitted to them with
    the known entropy; the excess of each is wrong by a random factor, whose deviation is that of
    the seeds of a cell, and with `cells` all runs of a cell have such a factor in common too.
    """
    found = committed("tales", 20)
    points, law, cells = (
        points_of(found.runs),
        found.fits["known"].law,
        cells_of(points_of(found.runs)),
    )
    logs = pd.Series(np.log(points[2] - law.E)).groupby(cells)
    noise = math.sqrt(logs.var().mean())
    rows: list[Facts] = []
    for of_cells in (0.0, 0.05):
        rng, hits = (
            stream(0, "simulated runs"),
            {method: dict.fromkeys(VALUES, 0) for method in METHODS},
        )
        for _ in range(simulations):
            common = of_cells * rng.standard_normal(cells.max() + 1)[cells]
            factors = np.exp(common + noise * rng.standard_normal(len(cells)))
            losses = law.E + (law.loss(*points[:2]) - law.E) * factors
            for method in METHODS:
                simulated = fit(np.stack([*points[:2], losses]), method, law.E, resamples=100)
                for name, value in VALUES.items():
                    low, high = simulated.interval(value)
                    hits[method][name] += bool(low <= value(law) <= high)
        for method, counts in hits.items():
            shares = {name: f"{count / simulations:.1%}" for name, count in counts.items()}
            rows.append({"method": method, "cells differ by": f"{of_cells:.0%}", **shares})
    return measure.markdown(rows)


@styled()
def loss_figure(shown: Study) -> Figure:
    """Draw each run over its tokens, and the law of the fit that knows most, a line a size."""
    figure, axes = wide_figure()
    found, floor = list(shown.fits.values())[-1], np.nan_to_num(shown.entropy)
    for index, (size, runs) in enumerate(shown.runs.groupby("size")):
        color, tokens = COLORS[index % len(COLORS)], runs["tokens"]
        axes.plot(tokens, runs["loss"] - floor, "o", color=color, markersize=4, alpha=0.7)
        along = np.geomspace(tokens.min(), tokens.max(), 50)
        label = f"N = {short(float(f'{size:.2g}'))}"
        axes.plot(along, found.law.loss(np.array(size), along) - floor, color=color, label=label)
    axes.set(xscale="log", xlabel="tokens read in training")
    number(axes.xaxis, (1, 2, 5))
    scale_losses(axes, [*(shown.runs["loss"] - floor)], room=2)
    axes.set_ylabel("excess over the entropy, nats per token" if floor else "nats per token")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    title(axes, f"{shown.name}: each run, and the law", "A line for each number of parameters.")
    figure.set_label(f"The law of {shown.name} has a deviation of {found.deviation:.4f} nats.")
    return figure


def studies_of(
    targets: Sequence[Path], prepared: Path, held_out: float, resamples: int
) -> Iterator[Study]:
    for target in targets:
        by_model = read_runs(target, prepared).groupby("model")
        for model, runs in by_model:
            name = target.stem if len(by_model) == 1 else f"{target.stem}_{model}"
            yield study(name, runs, held_out, resamples)


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("targets", nargs="*", type=Path, help="folders of sweeps, or their tables")
    parser.add_argument("--held-out", type=float, default=math.inf, metavar="PARAMETERS")
    parser.add_argument("--prepared", type=Path, default=Path("outputs/prepare"), metavar="FOLDER")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("-o", dest="figures", type=Path, metavar="FOLDER", help="for figures")
    parser.add_argument("--coverage", type=int, metavar="SIMULATIONS")
    given = parser.parse_args()
    if given.coverage:
        print(coverage(given.coverage))
    found = [*studies_of(given.targets, given.prepared, given.held_out, given.resamples)]
    for make in (laws, predictions, frontier) if found else ():
        print(make(found))
    if given.figures:
        make_folder(given.figures)
        for each in found:
            path = given.figures / f"{each.name}_loss.svg"
            atomic_write(path, as_svg(loss_figure(each)).encode())


if __name__ == "__main__":
    try:
        main()
    except LadderError as error:
        sys.exit(f"error: {error}")
