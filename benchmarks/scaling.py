"""Do the intervals of `lmladder scaling` contain the truth? And the tables of docs/scaling.md.

    python benchmarks/scaling.py                            # the coverage of intervals
    python benchmarks/scaling.py --write docs/scaling.md    # bring that page up to date
    python benchmarks/scaling.py --figures docs/images/scaling    # its figures
    python benchmarks/scaling.py --kinds RUN [RUN ...]      # the excess of runs by kind of position

The runs of results/scaling/tales.csv are simulated: the losses are those of the law that was fitted
to them with the known entropy, and the excess of each run is wrong by a random factor, whose
deviation is that of the seeds of a cell. With `cells`, all runs of a cell also have a random factor
in common, as if the law were not exactly true. Each simulation is fitted as the command does.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts
from lmladder.data import Prepared
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.evaluation.truth import KINDS, compare_with_truth
from lmladder.experiments.scaled_runs import Study, points_of, read_table, study
from lmladder.experiments.scaling import METHODS, fit
from lmladder.models import LanguageModel
from lmladder.models.oracle import Oracle
from lmladder.pipeline.rungs import ORACLE
from lmladder.reports import as_svg
from lmladder.reports.scaling import VALUES, figures, frontier_grid, laws_grid, predictions_grid
from lmladder.system.files import atomic_write
from lmladder.system.streams import stream
from lmladder.training.checkpoint import LATEST, Checkpoint

import numpy as np

RESULTS = measure.FOLDER.parent / "results" / "scaling"
HELD_OUT = {"tales": "size=d192"}
SHOWN = ("tales_loss", "tales_frontier", "entropy")  # figures of the page
DRAWS = 500  # for the intervals of a table, as the command
RESAMPLES = 100  # of each simulation
OF_CELLS = (0.0, 0.05)  # deviations of the factors of cells


def study_of(name: str) -> Study:
    return study(name, read_table(RESULTS / f"{name}.csv"), HELD_OUT.get(name), DRAWS)


def laws(names: Sequence[str]) -> str:
    return laws_grid([study_of(each) for each in names]).to_markdown()


def predictions(names: Sequence[str]) -> str:
    return predictions_grid([study_of(each) for each in names]).to_markdown()


def frontier(names: Sequence[str]) -> str:
    return frontier_grid([study_of(each) for each in names]).to_markdown()


def coverage(simulations: int, _names: Sequence[str] = ()) -> str:
    """Return how many intervals of simulated runs contain the value of the law."""
    runs = study("tales", read_table(RESULTS / "tales.csv"), HELD_OUT["tales"], 20)
    entropy, points, law = runs.entropy or 0.0, points_of(runs.runs), runs.best_fit.law
    cells, logs = points.cells, np.log(points.losses - entropy)
    within = [logs[cells == each] for each in range(cells.max() + 1)]
    noise = float(np.sqrt(np.mean([each.var(ddof=1) for each in within if len(each) > 1])))
    excess = law.loss(points.sizes, points.tokens) - entropy
    rows: list[Facts] = []
    for of_cells in OF_CELLS:
        rng = stream(0, "simulated runs")
        hits = {method: np.zeros(len(VALUES)) for method in METHODS}
        for _simulation in range(simulations):
            common = of_cells * rng.standard_normal(len(within))[cells]
            factors = np.exp(common + noise * rng.standard_normal(len(cells)))
            simulated = replace(points, losses=entropy + excess * factors)
            for method in METHODS:
                found = fit(simulated, method, entropy, resamples=RESAMPLES)
                for index, value in enumerate(VALUES.values()):
                    low, high = found.interval(value)
                    hits[method][index] += low <= value(law) <= high
        for method, counts in hits.items():
            shares = {
                name: f"{count / simulations:.1%}"
                for name, count in zip(VALUES, counts, strict=True)
            }
            if method == "known":
                shares["E"] = ""
            of_runs = {"runs differ by": f"{noise:.1%}", "cells differ by": f"{of_cells:.1%}"}
            rows.append({"method": method, **of_runs, **shares})
    return measure.markdown(rows)


def kinds(folders: Sequence[Path]) -> str:
    """Return the excess of trained runs on all positions, and what each kind contributes to it."""
    prepared = Prepared.open(Path("outputs/prepare"))
    (oracle,) = ORACLE.load(0, prepared).restore_models().values()
    assert isinstance(oracle, Oracle)
    models: dict[str, LanguageModel] = {}
    for folder in folders:
        (models[str(folder)],) = Checkpoint.load(folder / LATEST).restore_models().values()
    settings = EvaluateSettings(["val"], "latest", 0.8, 8192)
    rows: dict[str, Facts] = {}
    for each in compare_with_truth(models, oracle, prepared, settings):
        if each.by in ("all", *KINDS):
            row = rows.setdefault(each.model, {"parameters": models[each.model].n_parameters})
            total = row.setdefault("tokens", each.tokens)
            row[each.by] = f"{each.excess * each.tokens / total:.4f}"
    return measure.markdown([{"run": name, **row} for name, row in rows.items()])


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--write", metavar="PAGE", type=Path)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--figures", metavar="FOLDER", type=Path)
    parser.add_argument("--kinds", metavar="RUN", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.kinds:
        print(kinds(arguments.kinds))
        return
    if arguments.figures:
        names = [path.stem for path in sorted(RESULTS.glob("*.csv")) if "mlp" not in path.stem]
        drawn = figures([study_of(each) for each in names])
        for name in SHOWN:
            figure = drawn[name]
            atomic_write(arguments.figures / f"{name}.svg", as_svg(figure).encode())
            print(f"{name}: {figure.get_label()}")
        return
    simulated = partial(coverage, arguments.simulations)
    if arguments.write is None:
        print(simulated())
        return
    makers: dict[str, Callable[[Sequence[str]], str]] = {
        "laws": laws,
        "frontier": frontier,
        "predictions": predictions,
        "coverage": simulated,
    }
    command = f"python benchmarks/scaling.py --write {arguments.write}"
    measure.bring_up_to_date(arguments.write, makers, command=command, check=False)


if __name__ == "__main__":
    main()
