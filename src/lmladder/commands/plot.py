"""`lmladder plot`: the pictures of a ladder's results, from the tables that its stages left."""

import math
import sys
from pathlib import Path

from lmladder import reports
from lmladder.atomic import atomic_write, cannot_write
from lmladder.errors import InputError
from lmladder.text import read_facts

import pandas as pd
from matplotlib.figure import Figure

COUNT_STAGE = "bigram"  # the one stage that fits all count models


def plot(outputs: Path, folder: Path, format_name: str) -> None:
    """Write a picture of each kind to a folder, which is made if need be."""
    if format_name not in reports.FORMATS:
        raise InputError(f"no format {format_name!r}; choose from {', '.join(reports.FORMATS)}")
    drawn = pictures_of(outputs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    for name, caption in reports.CAPTIONS.items():
        if name in drawn:
            path = folder / f"{name}.{format_name}"
            atomic_write(path, reports.FORMATS[format_name](drawn[name]))
            print(f"{path}: {caption}")


def pictures_of(outputs: Path) -> dict[str, Figure]:
    """Every picture that the stages left numbers for, by name; that of time if they ran here."""
    evaluated = outputs / "evaluate"
    table = reports.read_csv(evaluated / "perplexity.csv")
    models = list(dict.fromkeys(table["model"]))
    folders = {model: outputs / _stage(model) for model in models if reports.is_fitted(model)}
    histories = {
        model: reports.read_history(path / "history.csv")
        for model, path in folders.items()
        if path.name != COUNT_STAGE
    }
    drawn = reports.result_pictures(
        table,
        histories,
        reports.read_positions(evaluated / "position.csv"),
        reports.read_calibration(evaluated / "calibration.csv"),
        train_tokens=read_facts(outputs / "prepare" / "corpus.json").splits["train"].tokens,
    )
    return drawn | _time_picture(table, folders)


def _time_picture(table: pd.DataFrame, folders: dict[str, Path]) -> dict[str, Figure]:
    """Nothing but a note where no stage tells of its time, as in a clone that ran none."""
    told = {model: reports.read_performance(path).get("seconds") for model, path in folders.items()}
    seconds = {
        model: float(value)
        for model, value in told.items()
        if isinstance(value, int | float) and 0 < value < math.inf
    }
    if not seconds:
        print("note: no picture of time, as no stage has run here", file=sys.stderr)
        return {}
    split = reports.last_split(table)
    return {"perplexity_time": reports.perplexity_by_time(table, split, seconds)}


def _stage(model: str) -> str:
    """The stage that makes a model; recurrent networks stand in the place of the MLP."""
    if reports.is_count_model(model):
        return COUNT_STAGE
    return "transformer" if model == "transformer" else "mlp"
