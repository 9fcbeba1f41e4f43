"""Tables over seeds of the ladders in `results/`, which `make results` trains.

`results/<name>/seed<seed>/` has what git keeps of a pipeline, such as outputs/evaluate.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmladder.evaluation import read_record
from lmladder.reports.table import CROPS, DECIMALS, Grid, in_order, read_csv, significant, whole
from lmladder.system.errors import InputError
from lmladder.system.settings import dotted

import numpy as np
import pandas as pd

NATS = ["nats_per_token", CROPS]
DEVIATION = "_deviation"  # end of a column's name: standard deviation over seeds


def seeds_grid(results: Path, names: Sequence[str]) -> Grid:
    """Return one table of some folders of `results`: a row a model, a column a folder and split.

    The last columns are of the last split of the last folder, by which models are sorted.

    Raises
    ------
    InputError
        If a folder has no results, or a file is missing or cannot be read.
    """
    columns: dict[str, dict[str, dict[Any, Any]]] = {}
    seeds = set()
    for name in names:
        folders = evaluated(results / name)
        seeds |= {len(folders)}
        settings = dotted(read_record(folders[0]).settings)
        share = f"{settings['data.split.train']:.0%}"
        for split, rows in over_seeds(folders).groupby("split", sort=False):
            columns[f"Trained on {share}: {split}"] = {
                row["model"]: row for row in rows.to_dict("records")
            }
    title, last = list(columns.items())[-1]
    cells = [
        [
            str(row["label"]),
            *(_mean(each.get(model, {}), NATS[0]) for each in columns.values()),
            _mean(row, CROPS),
            significant(row["perplexity"]),
            whole(row["parameters"]),
            whole(row["steps"]),
        ]
        for model, row in last.items()
    ]
    count = "1 seed" if seeds == {1} else f"{'-'.join(map(str, sorted(seeds)))} seeds"
    caption = (
        f"{', '.join(names)}: nats per token, mean ± standard deviation over {count}; "
        "perplexity of the last text"
    )
    return Grid(
        caption,
        ["Model", *columns, f"{title}, on crops", "Perplexity", "Parameters", "Steps"],
        cells,
    )


def evaluated(folder: Path) -> list[Path]:
    """Return the folders of the tables of all seeds; raise InputError if there are none."""
    found = sorted(each.parent for each in folder.glob("seed*/outputs/evaluate/perplexity.csv"))
    if not found:
        raise InputError(f"{folder} has no results; run: make {folder.name}")
    return found


def over_seeds(folders: Sequence[Path]) -> pd.DataFrame:
    """Return the mean of the tables in these folders, with deviations of `NATS`.

    Perplexity is that of the mean nats per token.
    """
    tables = pd.concat([read_csv(each / "perplexity.csv") for each in folders])
    groups = tables.groupby(["split", "model"], sort=False)
    table, means = groups.first(), [*NATS, "bits_per_byte"]
    table[means] = groups[means].mean()
    table = table.join(groups[NATS].std().round(DECIMALS).add_suffix(DEVIATION))
    table["perplexity"] = np.exp(table["nats_per_token"])
    return in_order(table.reset_index())


def _mean(row: Mapping[str, Any], name: str) -> str:
    """Return a mean, with its deviation unless all seeds have the same value."""
    if pd.isna(mean := row.get(name)):
        return ""
    deviation = row[name + DEVIATION]
    return f"{mean:.4f} ± {deviation:.4f}" if deviation > 0 else f"{mean:.4f}"
