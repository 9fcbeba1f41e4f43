"""Tables over seeds of the ladders in `results/`, which `make results` trains.

`results/<name>/seed<seed>/` has what git keeps of a pipeline, such as outputs/evaluate.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmladder.reports.grid import Grid
from lmladder.reports.table import (
    BY_NAME,
    CROPS,
    DECIMALS,
    EXCESS,
    EXCESS_ERROR,
    Column,
    four,
    in_order,
    read_csv,
)
from lmladder.system.errors import InputError
from lmladder.system.settings import dotted

import numpy as np
import pandas as pd
import yaml

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
        seeds.add(len(folders))
        settings = dotted(yaml.safe_load((folders[0].parents[1] / "params.yaml").read_bytes()))
        start = f"Trained on {settings['data.split.train']:.0%}"
        for split, rows in over_seeds(folders).groupby("split", sort=False):
            by_model = {row["model"]: row for row in rows.to_dict("records")}
            columns[f"{start}: {split}"] = by_model
    title, last = list(columns.items())[-1]
    whole, crops = (Column(each, "float64", form=four, error=each + DEVIATION) for each in NATS)
    shown = [crops, *(BY_NAME[each] for each in ("perplexity", "parameters", "steps"))]
    cells = [
        [
            row["label"],
            *(whole.cell(each[model]) if model in each else "" for each in columns.values()),
            *(each.cell(row) for each in shown),
        ]
        for model, row in last.items()
    ]
    count = "1 seed" if seeds == {1} else f"{'-'.join(map(str, sorted(seeds)))} seeds"
    caption = (
        f"{', '.join(names)}: nats per token, mean ± standard deviation over {count}; "
        "perplexity of the last text"
    )
    titles = ["Model", *columns, f"{title}, on crops", *(each.title for each in shown[1:])]
    return Grid(caption, titles, cells)


def evaluated(folder: Path) -> list[Path]:
    """Return the folders of the tables of all seeds; raise InputError if there are none."""
    found = sorted(each.parent for each in folder.glob("seed*/outputs/evaluate/perplexity.csv"))
    if not found:
        raise InputError(f"{folder} has no results; run: make {folder.name}")
    return found


def over_seeds(folders: Sequence[Path]) -> pd.DataFrame:
    """Return the mean of the tables in these folders, with deviations of `NATS` and of the excess.

    Perplexity is that of the mean nats per token. A deviation of 0 is missing.
    """
    tables = pd.concat([read_csv(each / "perplexity.csv") for each in folders])
    groups = tables.groupby(["split", "model"], sort=False)
    table, means = groups.first(), [*NATS, "bits_per_byte", EXCESS]
    table[means] = groups[means].mean()
    deviations = groups[NATS].std().round(DECIMALS).replace(0, np.nan)
    table = table.join(deviations.add_suffix(DEVIATION))
    table[EXCESS_ERROR] = groups[EXCESS].std()
    table["perplexity"] = np.exp(table["nats_per_token"])
    return in_order(table.reset_index())
