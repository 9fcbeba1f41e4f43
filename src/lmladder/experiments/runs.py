"""Discovery of runs in folders: each model of each scores.json, which `Record` describes."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmladder.config import STAGES
from lmladder.evaluation import Record, ScoredModel, read_record
from lmladder.evaluation.audit import PASSED
from lmladder.evaluation.records import SCORES
from lmladder.system.errors import InputError, printable
from lmladder.system.settings import dotted

# The scores by their names on the command line; by default the first that a run has is compared.
METRICS = {
    "bits_per_byte": "bits per byte of the whole validation text",
    "nats_per_token": "nats per token of the whole validation text",
    "perplexity": "perplexity of the whole validation text",
    "val_loss": "nats per token of validation sequences, which begin without context",
}
ORACLE = "oracle"  # a kind that is a bound, not a model
DIGEST = "data.digest"  # key of the digest of text and tokens among the settings
WITHOUT_EFFECT = ("data.prompt", ".watch")  # ends of settings that affect no score
# Files of a stage that is unfinished, has failed, or was run by an older version.
WITHOUT_SCORES = {"metrics.json", "perplexity.csv", "failed.json"}

Settings = Mapping[str, Any]  # by dotted key; a list is one value, as JSON


@dataclass(frozen=True)
class Run:
    """One scored model.

    Attributes
    ----------
    path : the folder of the run
    model : "transformer", "gru", "kneser_ney_5", ...
    section : key of the settings of its rung: "transformer", "rungs.deep"
    scores : by name, of `METRICS`
    seed : of the run
    settings : those that determine the score, without the seed
    overrides : as given to Hydra, such as "recipe=base"
    deterministic : whether the scores are the same for every seed
    text : what two runs must have in common to be compared by blocks: digest of the text, first
        tokens and lengths of the blocks
    losses : nats of each block; empty if unknown
    """

    path: Path
    model: str
    section: str
    scores: Mapping[str, float]
    seed: int
    settings: Settings
    overrides: frozenset[str]
    deterministic: bool
    text: tuple[str, tuple[int, ...], tuple[int, ...]]
    losses: tuple[float, ...]


@dataclass
class Found:
    """Runs, and one note for each run that was left out."""

    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_runs(paths: Iterable[Path]) -> Found:
    """Return all runs in these folders and below; a note names each that cannot be read.

    Raises
    ------
    InputError
        If a path is not a folder, or no folder has a run.
    """
    found, paths = Found(), list(paths)
    records: dict[Path, Record] = {}

    def note_unreadable(error: OSError) -> None:
        found.notes.append(f"{error.filename} cannot be read and is left out: {error.strerror}")

    for path in paths:
        if not path.is_dir():
            reason = "is not a folder of runs" if path.exists() else "does not exist"
            raise InputError(f"{path} {reason}")
        for name, below, files in os.walk(path, onerror=note_unreadable):
            below[:] = sorted(each for each in below if not each.startswith("."))
            folder = Path(name)
            if SCORES in files:
                try:
                    records.setdefault(folder, read_record(folder))
                except InputError as error:
                    found.notes.append(f"{error}; the run is left out")
            elif WITHOUT_SCORES & {*files}:
                why = "the run is unfinished, has failed or is of an older version"
                found.notes.append(f"{folder} has no {SCORES} and is left out: {why}")
    for folder, record in records.items():
        for model in record.models:
            if model.kind == ORACLE:
                continue
            reason = "" if model.scores.model_dump(exclude_none=True) else "its score is not finite"
            if failed := _failed_checks(folder, model, records):
                reason = f"it fails an audit: {failed}"
            if reason:
                found.notes.append(f"{folder}: {model.name!r} is left out: {reason}")
            else:
                found.runs.append(_run(folder, record, model))
        if not record.models:
            found.notes.append(f"{folder} has no score of the validation text and is left out")
    found.notes[:] = dict.fromkeys(found.notes)  # of two paths, one may be below the other
    if not found.runs:
        why = f": {found.notes[0]}" if found.notes else ""
        raise InputError(f"no finished run in {', '.join(map(str, paths))}{why}")
    return found


def _failed_checks(folder: Path, model: ScoredModel, records: Mapping[Path, Record]) -> str:
    """Return the checks that a model fails, by its record or by that of the ladder of its rung."""
    for each in (folder, *(above / "evaluate" for above in folder.parents[:2])):
        with suppress(InputError):  # there is none
            for other in (records.get(each) or read_record(each)).models:
                same = (other.rung, other.name) == (model.rung, model.name)
                if same and other.audit not in ("", PASSED):
                    return other.audit
    return ""


def _run(folder: Path, record: Record, model: ScoredModel) -> Run:
    section = model.rung.replace("/", ".")
    return Run(
        path=folder,
        model=model.name,
        section=section,
        scores=model.scores.model_dump(exclude_none=True),
        seed=record.seed,
        settings=_relevant(record, section, model),
        overrides=frozenset(each.lstrip("+") for each in record.overrides),
        deterministic=model.deterministic,
        text=(record.digest, record.first, record.lengths),
        losses=model.losses,
    )


def _relevant(record: Record, section: str, model: ScoredModel) -> Settings:
    """Return the settings that affect the score of a rung, without the seed.

    The digest of the text is one of them, as the content of a file can change. Those of all rungs
    affect a mixture.
    """
    sections = ["data", "tokenizer", section]
    if section.startswith("mixtures."):
        sections += [*STAGES, "rungs"]
    single = [] if model.deterministic else ["runtime.kernels"]
    if model.scores.val_loss is None:
        single += ["evaluate.checkpoint", "evaluate.min_context"]
    starts = tuple(f"{each}." for each in sections)
    relevant: dict[str, Any] = {DIGEST: record.digest[:16]}
    for key, value in dotted(record.settings).items():
        if key in single or (key.startswith(starts) and not key.endswith(WITHOUT_EFFECT)):
            relevant[printable(key)] = json.dumps(value) if isinstance(value, list) else value
    return relevant
