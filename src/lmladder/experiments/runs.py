"""Discovery of runs in folders: the scores and settings of each run.

A folder is a run if it has perplexity.csv (a ladder: exact scores of the whole validation text) or
metrics.json with `val_loss` (a single stage: exact scores of count models, or scores of a trained
model on validation sequences, which begin without context). `settings.py` reads the settings,
`records.py` rejects edited files.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lmladder.config import STAGES
from lmladder.evaluation import BLOCK_LOSSES, BlockLosses
from lmladder.evaluation.audit import PASSED
from lmladder.experiments.jobs import MACHINE
from lmladder.experiments.records import (
    LADDER,
    METRICS_FILE,
    EditedFileError,
    Header,
    check_digests,
    check_history,
    read_header,
)
from lmladder.experiments.settings import Settings, read_overrides, read_settings, read_text
from lmladder.models.registry import KINDS
from lmladder.system.errors import InputError
from lmladder.system.progress import CountingProgress
from lmladder.training.checkpoint import TRAINED
from lmladder.training.loop import VERSIONS

import yaml
from safetensors import SafetensorError

# The scores by their names on the command line; by default the first that a run has is compared.
METRICS = {
    "bits_per_byte": "bits per byte of the whole validation text",
    "nats_per_token": "nats per token of the whole validation text",
    "perplexity": "perplexity of the whole validation text",
    "val_loss": "nats per token of validation sequences, which begin without context",
}
ORACLE = "oracle"  # a bound, not a model
NOTHING_TO_SCORE = "corpus.json"  # written by the stage prepare
DIGEST = "data.digest"  # key of the digest of text and tokens among the settings
# Settings that affect no score.
WITHOUT_EFFECT = re.compile(
    r"data\.prompt|evaluate\.(splits|batch_tokens|excess_stories)|.*\.watch"
)
DAMAGE = (  # errors from files that the stages did not write
    ValueError, KeyError, TypeError, AttributeError, ArithmeticError, IndexError, RecursionError,
    csv.Error, yaml.YAMLError, SafetensorError,
)  # fmt: skip
TOLERANCE = 1e-4  # nats per token, between a score and that of its blocks


@dataclass(frozen=True)
class Run:
    """One scored model.

    Attributes
    ----------
    path : the folder of the run
    model : "transformer", "gru", "kneser_ney_5", ...
    kind : of its rung, see `KINDS`
    section : key of its settings: "transformer", "rungs.deep"
    scores : by name, of `METRICS`
    seed : None if it is unknown
    settings : those that determine the score, without the seed; None if they are unknown
    overrides : as given to Hydra, such as "recipe=base"
    blocks : losses of blocks of the scored text; None if there are none
    versions : of NumPy and Numba, from trained.json or machine.json beside the run
    """

    path: Path
    model: str
    kind: str
    section: str
    scores: Mapping[str, float]
    seed: int | None = None
    settings: Settings | None = None
    overrides: frozenset[str] = frozenset()
    blocks: BlockLosses | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_deterministic(self) -> bool:
        """Whether the scores are the same for every seed."""
        return KINDS[self.kind].fit.deterministic


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
    found, seen, paths = Found(), set[Path](), list(paths)
    for path in paths:
        if not path.is_dir():
            reason = "is not a folder of runs" if path.exists() else "does not exist"
            raise InputError(f"{path} {reason}")
        with CountingProgress("runs", "folders") as progress:
            for folder, hydra, names in _folders(path, seen, found.notes):
                progress.advance(1)
                try:
                    found.runs += list(_read(folder, hydra, names, found.notes))
                except EditedFileError as error:
                    found.notes.append(f"{error}; the run is left out")
                except DAMAGE as error:
                    found.notes.append(f"{folder} is damaged and left out: {_one_line(error)}")
                except OSError as error:
                    why = f"cannot be read and is left out: {_one_line(error)}"
                    found.notes.append(f"{folder} {why}")
    if not found.runs:
        why = f": {found.notes[0]}" if found.notes else ""
        raise InputError(f"no finished run in {', '.join(map(str, paths))}{why}")
    return found


def settings_of(folder: Path) -> Settings | None:
    """Return all settings of the run in a folder, with the seed; None if they are unknown.

    Raises
    ------
    InputError
        If a file of settings is damaged.
    """
    try:
        return read_settings(folder, (folder / ".hydra").is_dir())
    except (*DAMAGE, OSError) as error:
        raise InputError(f"cannot read the settings of {folder}: {_one_line(error)}") from error


def _folders(
    root: Path, seen: set[Path], notes: list[str]
) -> Iterator[tuple[Path, bool, set[str]]]:
    """Yield each folder not yet seen, whether it has a folder .hydra, and its names; in order."""

    def note_unreadable(error: OSError) -> None:
        notes.append(f"{error.filename} cannot be read and is left out: {error.strerror}")

    for folder, below, names in os.walk(root, onerror=note_unreadable, followlinks=True):
        if (resolved := Path(folder).resolve()) in seen:  # links may form a cycle
            below.clear()
            continue
        seen.add(resolved)
        hydra = ".hydra" in below
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield Path(folder), hydra, set(names)


def _read(folder: Path, hydra: bool, names: set[str], notes: list[str]) -> Iterator[Run]:
    if NOTHING_TO_SCORE in names:
        return
    if any(name.startswith("unfinished") for name in names):
        notes.append(f"{folder} is unfinished and left out")
        return
    if not names & {LADDER, METRICS_FILE}:
        if hydra and not (folder / "evaluate" / LADDER).exists():  # which stages/ladder.py makes
            notes.append(f"{folder} has no result and is left out")
        return
    check_digests(folder, names)
    settings = read_settings(folder, hydra)
    seed = None if settings is None else int(settings["seed"])
    overrides, versions = read_overrides(folder, hydra), _versions(folder)
    header = read_header(folder, names)
    blocks = None
    if BLOCK_LOSSES in names:
        blocks = BlockLosses.from_csv(read_text(folder / BLOCK_LOSSES))
    runs = list(_of_ladder(folder, blocks) if LADDER in names else _of_stage(folder))
    if not runs:
        notes.append(f"{folder} has no validation text in {LADDER} and is left out")
    elif header is not None:
        check_history(folder, names, header, runs[0].section, settings or {})
    if blocks is not None:
        _check_blocks(folder, LADDER if LADDER in names else METRICS_FILE, blocks, runs, header)
    for run in runs:
        try:
            KINDS[run.kind]
        except InputError as error:
            notes.append(f"{folder}: {run.model!r} is left out: {error}")
            continue
        if failed := _failed_checks(run):
            notes.append(f"{folder}: {run.model!r} is left out: it fails an audit: {failed}")
            continue
        run = replace(run, seed=seed, overrides=overrides, blocks=blocks, versions=versions)
        run = replace(run, settings=settings and _relevant(run, settings))
        texts = run.settings or {}
        for text in (run.model, *texts, *texts.values(), *overrides, *versions.values()):
            if not str(text).isprintable():  # it may contain control codes of a terminal
                raise ValueError(f"{text!r} cannot be printed")
        yield run


def _of_ladder(folder: Path, blocks: BlockLosses | None) -> Iterator[Run]:
    """Yield each model with its scores on the validation text, per token of the text."""
    path = folder / LADDER
    for row in csv.DictReader(io.StringIO(read_text(path), newline="")):
        if row["split"] != "val" or row["model"] == ORACLE:
            continue
        rate = int(row["tokens"]) / int(row["bytes"]) / math.log(2)
        names = ("bits_per_byte", "nats_per_token", "perplexity")
        scores = {name: _finite(row[name]) for name in names}
        bits, nats, perplexity = scores.values()
        if abs(bits - nats * rate) + abs(math.log(perplexity) - nats) > TOLERANCE:
            raise EditedFileError(f"{path} has scores of {row['model']} that contradict each other")
        if blocks is not None and (tokens := sum(blocks.tokens)) != int(row["tokens"]):
            nats *= int(row["tokens"]) / tokens  # of the text, instead of its own
            scores |= {"nats_per_token": nats, "perplexity": math.exp(nats)}
        yield Run(folder, row["model"], row["kind"], row["rung"].replace("/", "."), scores)


def _failed_checks(run: Run) -> str:
    """Return the checks that a model fails, by its table or by that of the ladder of its rung."""
    beside = (each / "evaluate" for each in run.path.parents[:2])
    for path in (folder / LADDER for folder in (run.path, *beside)):
        for row in csv.DictReader(io.StringIO(read_text(path))) if path.exists() else ():
            same = (row["model"], row["rung"].replace("/", ".")) == (run.model, run.section)
            if same and row.get("audit", "") not in ("", PASSED):
                return row["audit"]
    return ""


def _of_stage(folder: Path) -> Iterator[Run]:
    """Yield the models of one rung."""
    metrics = json.loads(read_text(folder / METRICS_FILE))
    loss, kind = metrics["val_loss"], str(metrics["kind"])
    section = metrics["rung"].replace("/", ".")
    if not isinstance(loss, dict):
        yield Run(folder, str(metrics["model"]), kind, section, {"val_loss": _finite(loss)})
        return
    for model, value in loss.items():
        nats = _finite(value)
        scores = {"nats_per_token": nats, "perplexity": math.exp(nats)}
        yield Run(folder, model, kind, section, scores)


def _check_blocks(
    folder: Path, table: str, blocks: BlockLosses, runs: Iterable[Run], header: Header | None
) -> None:
    """Raise EditedFileError if blocks and the scores in the file `table` are of different runs."""
    path, beside = folder / BLOCK_LOSSES, "the checkpoint beside it"
    if header is not None and not header["data_digest"].startswith(blocks.data):
        raise EditedFileError(f"{path} and {beside} are of different texts")
    source = beside if header is not None and header["history"] else table
    for run in runs:
        expected = run.scores.get("val_loss", run.scores.get("nats_per_token", math.nan))
        found = float(sum(blocks.nats[run.model])) / sum(blocks.tokens)
        if abs(found - expected) > TOLERANCE:
            raise EditedFileError(
                f"{path} and {source} contradict each other: {found:.6f} and {expected:.6f} "
                f"nats per token of {run.model}"
            )


def _versions(folder: Path) -> dict[str, str]:
    """Return the versions of NumPy and Numba that trained the run or ran its stage, if known."""
    for name, keys in ((TRAINED, ["identity"]), (MACHINE, ["environment", "packages"])):
        with suppress(*DAMAGE, OSError):
            facts = json.loads(read_text(folder / name))
            for key in keys:
                facts = facts[key]
            return {package: str(facts[package]) for package in VERSIONS if package in facts}
    return {}


def _relevant(run: Run, settings: Settings) -> Settings:
    """Return the settings that affect this score, without the seed.

    The digest of the text is one of them, if it is known, as the content of a file can change.
    Those of all rungs affect a mixture.
    """
    sections = ["data.", "tokenizer.", f"{run.section}."]
    if KINDS[run.kind].fit.group == "mixtures":
        sections += [f"{each}." for each in (*STAGES, "rungs")]
    if "val_loss" not in run.scores:
        sections.append("evaluate.")
    digest = {} if run.blocks is None else {DIGEST: run.blocks.data}
    return digest | {
        key: value
        for key, value in settings.items()
        if (key.startswith(tuple(sections)) and not WITHOUT_EFFECT.fullmatch(key))
        or (key == "runtime.kernels" and not run.is_deterministic)
    }


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a score is {number}")
    return number


def _one_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        old = "; results of lmladder 0.1 must be made again" if error.args[0] == "kind" else ""
        return f"{error} is missing{old}"
    return " ".join(str(error).split()) or type(error).__name__
