"""Detection of edited files of a run by the records that describe them.

The records are finished.json of a job of a sweep, with the sha256 of each of its files; dvc.lock,
with the md5 of those in `outputs/<stage>`; and the checkpoint of a trained rung, with seed,
settings and history. Only its header is read, not the arrays: `lmladder verify` checks its seal. If
a file and a record disagree, the run is rejected.
"""

import hashlib
import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from lmladder.evaluation import BLOCK_LOSSES
from lmladder.experiments.jobs import FINISHED
from lmladder.experiments.settings import Settings, flat, locked_stages, read_bytes, read_text
from lmladder.training.history import as_csv

from safetensors import safe_open

LADDER, METRICS_FILE = "perplexity.csv", "metrics.json"
CHECKPOINT, HISTORY, SAMPLES = "checkpoint.safetensors", "history.csv", "samples.txt"
CHECKED = {LADDER, METRICS_FILE, HISTORY, SAMPLES, BLOCK_LOSSES}
MAX_COLUMNS = 1000  # of history.csv

Header = Mapping[str, Any]


class EditedFileError(ValueError):
    """A file of a run and a record disagree; the message names both."""


def check_digests(folder: Path, names: Set[str]) -> None:
    """Raise EditedFileError if a small file is not the one in finished.json or dvc.lock.

    Parameters
    ----------
    names : of the files in the folder
    """
    stage, stages = locked_stages(folder)
    locked = {Path(out["path"]).name: out["md5"] for out in stages.get(stage, {}).get("outs", [])}
    finished = FINISHED in names
    recorded = json.loads(read_text(folder / FINISHED))["files"] if finished else {}
    for name in sorted(names & CHECKED):
        content = read_bytes(folder / name)
        if finished and recorded.get(name) != hashlib.sha256(content).hexdigest():
            raise EditedFileError(f"{folder / name} is not the file that {FINISHED} records")
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if locked.get(name, md5) != md5:
            raise EditedFileError(f"{folder / name} is not the file that dvc.lock records")


def read_header(folder: Path, names: Set[str]) -> Header | None:
    """Return the metadata of a run's checkpoint; None if there is no checkpoint."""
    if CHECKPOINT not in names:
        return None
    path = folder / CHECKPOINT
    if not path.is_file():
        raise ValueError(f"{CHECKPOINT} is not a file")
    with safe_open(path, framework="np") as file:
        header: Header = json.loads((file.metadata() or {})["lmladder"])
    return header


def check_history(
    folder: Path, names: Set[str], header: Header, section: str, settings: Settings
) -> None:
    """Raise EditedFileError if metrics, history or settings are not those of the checkpoint.

    Parameters
    ----------
    section : the settings of this rung are under this key
    settings : of the run; empty if they are unknown
    """
    config = {f"{section}.{key}": value for key, value in flat(header["config"]).items()}
    for key, value in {**config, "seed": header["seed"]}.items():
        found = settings.get(key, value)
        if found != value and "${" not in str(found):
            raise EditedFileError(
                f"the settings of {folder} have {key}={found}, its {CHECKPOINT} has {value}"
            )
    history = header["history"]
    if not history:  # count models
        return
    losses = [row["val_loss"] for row in history[1:]]
    expected = {
        "model": header["name"],
        "kind": header["kind"],
        "steps": header["step"],
        "train_loss": round(history[-1]["train_loss"], 6),
        "val_loss": round(losses[-1], 6),
        "best_val_loss": round(min(losses), 6),
    }
    if METRICS_FILE in names:
        metrics = json.loads(read_text(folder / METRICS_FILE))
        for key, value in expected.items():
            if metrics[key] != value:
                raise EditedFileError(
                    f"{folder / METRICS_FILE} has {key} {metrics[key]}, its {CHECKPOINT} {value}"
                )
    if HISTORY in names:
        text = read_text(folder / HISTORY)
        columns = text.partition("\n")[0].split(",")[:MAX_COLUMNS]
        if as_csv(history, columns) != text:
            raise EditedFileError(f"{folder / HISTORY} is not the history in its {CHECKPOINT}")
