"""`lmladder plot`: the pictures of a ladder's results, from the tables that its stages left."""

import math
import sys
from pathlib import Path

from lmladder import reports
from lmladder.cli import require_replaceable
from lmladder.data import read_facts
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write, cannot_write

from matplotlib.figure import Figure


def plot(outputs: Path, folder: Path, format_name: str, *, force: bool) -> None:
    """Write a picture of each kind to a folder, which is made if need be."""
    if format_name not in reports.FORMATS:
        raise InputError(f"no format {format_name!r}; choose from {', '.join(reports.FORMATS)}")
    drawn = pictures_of(outputs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    paths = {name: folder / f"{name}.{format_name}" for name in reports.CAPTIONS if name in drawn}
    for path in paths.values():
        require_replaceable(path, force=force)
    for name, path in paths.items():
        atomic_write(path, reports.FORMATS[format_name](drawn[name]))
        print(f"{path}: {reports.CAPTIONS[name]}")


def pictures_of(outputs: Path) -> dict[str, Figure]:
    """Every figure that the stages left numbers for, by name; that of time if they ran here."""
    evaluated = outputs / "evaluate"
    table = reports.read_csv(evaluated / "perplexity.csv")
    drawn = reports.result_pictures(
        table,
        reports.read_histories(table, outputs),
        reports.read_positions(evaluated / "position.csv"),
        reports.read_calibration(evaluated / "calibration.csv"),
        train_tokens=read_facts(outputs / "prepare" / "corpus.json").splits["train"].tokens,
    )
    seconds = {
        name: float(value)
        for name, each in reports.models_of(table).items()
        if (value := reports.read_performance(outputs / each.rung).get("seconds"))
        and (each.trained or each.counted)
        and isinstance(value, int | float)
        and 0 < value < math.inf
    }
    if not seconds:
        print("note: no figure of time, as no stage has run here", file=sys.stderr)
        return drawn
    split = reports.last_split(table)
    return drawn | {"perplexity_time": reports.perplexity_by_time(table, split, seconds)}
