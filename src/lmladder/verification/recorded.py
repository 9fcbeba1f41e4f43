"""A finished run as it lies on the disk, and the text that it was trained on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmladder.checkpoint import COUNTS, REMEDY, Checkpoint, weights_digest
from lmladder.config import (
    BigramConfig,
    MlpConfig,
    TransformerConfig,
    from_mapping,
    validate_rung,
)
from lmladder.errors import InputError
from lmladder.history import DIGEST
from lmladder.stage import ENVIRONMENT, OUTPUTS
from lmladder.text import Prepared
from lmladder.training import BEST, LATEST, UNFINISHED, UNFINISHED_BEST

SCHEMAS: dict[str, type[BigramConfig] | type[MlpConfig] | type[TransformerConfig]] = {
    COUNTS: BigramConfig,
    "mlp": MlpConfig,
    "transformer": TransformerConfig,
}


@dataclass(frozen=True)
class RecordedRun:
    """What a run left, and found to be consistent with itself.

    Attributes
    ----------
    path : as the user named it, a folder or a file
    checkpoint : the latest of the folder, or that file
    best : the best of the folder, where there is one
    config : that of the rung
    environment : what environment.json beside it tells; None where it is missing or damaged
    """

    path: Path
    checkpoint: Checkpoint
    best: Checkpoint | None
    config: BigramConfig | MlpConfig | TransformerConfig
    environment: Mapping[str, Any] | None

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def origin(self) -> Checkpoint:
        """The checkpoint before the first step: all that decides the run, no arrays."""
        return replace(self.checkpoint, step=0, history=(), model={}, optimizer={})


def open_run(path: Path) -> RecordedRun:
    """The run in a folder, or of a checkpoint file.

    Raises
    ------
    InputError
        If there is none, it has not finished, was not trained here, or is damaged: also where it
        was changed and sealed again so that its parts no longer belong together.
    """
    folder = path if path.is_dir() else path.parent
    unfinished = (UNFINISHED, UNFINISHED_BEST)
    if path.name in unfinished or (path == folder and any((path / n).exists() for n in unfinished)):
        raise InputError(
            f"{path} is of a run that has not finished; end it with the command that began it"
        )
    if path == folder and not (path / LATEST).exists():
        raise InputError(f"{path} holds no {LATEST}; name the folder of one run, or its file")
    checkpoint = Checkpoint.load(path / LATEST if path == folder else path)
    best = None
    if path == folder and (path / BEST).exists():
        best = Checkpoint.load(path / BEST)
        if best.fingerprint != checkpoint.fingerprint:
            raise InputError(f"{path} is damaged: {LATEST} and {BEST} are of two runs; {REMEDY}")
    for each in (checkpoint, *([best] if best else [])):
        _require_whole(path, each)
    if best and best.history != checkpoint.history[: len(best.history)]:
        raise InputError(f"{path} is damaged: {LATEST} and {BEST} tell two histories; {REMEDY}")
    config = from_mapping(SCHEMAS[checkpoint.kind], checkpoint.config)
    if not isinstance(config, BigramConfig):
        validate_rung(checkpoint.kind, config)
    return RecordedRun(path, checkpoint, best, config, _read_environment(folder / ENVIRONMENT))


def open_text(run: RecordedRun, directory: Path | None = None) -> Prepared:
    """The prepared text that a run was trained on.

    Parameters
    ----------
    directory : where it is; None looks in the ladder that the run stands in, then in the pipeline

    Raises
    ------
    InputError
        If there is none, or another than the run was trained on.
    """
    if directory is None:
        beside = run.folder.parent / "prepare"
        directory = beside if beside.is_dir() else OUTPUTS / "prepare"
    prepared = Prepared.open(directory)
    prepared.verify()
    wanted = run.checkpoint.data_digest
    if prepared.digest != wanted:
        raise InputError(
            f"{run.path} was trained on a text with digest {wanted[:12]}, but {directory} "
            f"holds {prepared.digest[:12]}; name the folder of that text with --prepared, or "
            "make it again with `python stages/compose.py` and its settings, then "
            "`dvc repro prepare`"
        )
    if run.checkpoint.tokenizer != prepared.tokenizer.to_json():
        raise InputError(f"{run.path} is damaged: its tokenizer is not that of its text; {REMEDY}")
    return prepared


def _require_whole(path: Path, checkpoint: Checkpoint) -> None:
    """InputError unless this is a checkpoint of a run, whose history ends with these weights."""
    if checkpoint.kind not in SCHEMAS:
        raise InputError(f"{path}: a run of unknown kind {checkpoint.kind!r}")
    try:
        checkpoint.restore_models()  # so that sizes are those of the arrays
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if type(checkpoint.seed) is not int or checkpoint.seed < 0:
        raise InputError(f"{path} is damaged: its seed is {checkpoint.seed!r}; {REMEDY}")
    if checkpoint.kind == COUNTS:
        return
    if not checkpoint.history or checkpoint.step == 0:
        raise InputError(f"{path} tells of no training; its weights come from elsewhere")
    if checkpoint.pending:
        raise InputError(
            f"{path} was interrupted at step {checkpoint.step}; end it with the command that "
            "began it"
        )
    last = checkpoint.history[-1]
    if not all(map(_is_line, checkpoint.history)):
        raise InputError(f"{path} is damaged: its history is no history; {REMEDY}")
    told, digest = last["step"], last.get(DIGEST)
    if told != checkpoint.step:
        raise InputError(
            f"{path} is damaged: it is of step {checkpoint.step}, but its history ends at step "
            f"{told}; {REMEDY}"
        )
    found = weights_digest(checkpoint.model)
    if digest not in (None, found):  # there were none once
        raise InputError(
            f"{path} is damaged: its weights have digest {found}, but its history tells of "
            f"{digest} at step {told}; {REMEDY}"
        )


def _is_line(row: Any) -> bool:
    """Whether this may be a line of a history."""
    if not isinstance(row, dict):
        return False
    return type(row.get("step")) is int and type(row.get("val_nats")) is float


def _read_environment(path: Path) -> Mapping[str, Any] | None:
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None
