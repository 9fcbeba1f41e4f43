"""The runs in a folder: what each scored, with which settings.

A folder holds a run if it has perplexity.csv (a ladder: exact scores of the whole validation text)
or metrics.json with `val_nats` (a stage alone: count models have exact scores, neural rungs those
of validation rows, which begin without a past). Settings are those that Hydra wrote beside the run,
or beside the ladder that the run is a part of, or that DVC recorded in dvc.lock when it made the
folder `outputs/<stage>`.
"""

import csv
import functools
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmladder.config import dotted
from lmladder.errors import InputError
from lmladder.scoring import BLOCK_NATS, BlockNats

import yaml

# How a score is called on the command line, and what it is.
METRICS = {
    "bits_per_byte": "bits per byte of the whole validation text",
    "nats_per_token": "nats per token of the whole validation text",
    "perplexity": "perplexity of the whole validation text",
    "val_nats": "nats per token of validation rows, which begin without a past",
}
LADDER, METRICS_FILE = "perplexity.csv", "metrics.json"
TABLE_OF_LADDER = f"evaluate/{LADDER}"  # where stages/ladder.py has run all stages
ORACLE = "oracle"  # a floor, not a model
NOTHING_TO_SCORE = "corpus.json"  # what the prepare stage writes
RUNGS = dict.fromkeys(("mlp", "rnn", "gru"), "mlp") | {"transformer": "transformer"}
DIGEST = "data.digest"  # the text and its tokens, among the settings
WITHOUT_EFFECT = (  # on a score
    "data.prompt", "data.watch", "tokenizer.watch", "transformer.watch", "evaluate.splits",
    "evaluate.batch_tokens",
)  # fmt: skip
COUNTS = "bigram"  # the rung of all other models
DAMAGE = (  # what files raise that are not as the stages write them
    ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError,
    csv.Error, yaml.YAMLError,
)  # fmt: skip
MOST_BYTES = 1 << 24  # that are read of a file
MOST_CHARACTERS = 1 << 20  # of all values of a YAML file, those that stand for others counted too
MOST_NESTED = 10_000  # characters that may begin a level of it; it has crashed at 50,000
TOLERANCE = 1e-4  # nats per token, between a score and that of its blocks

Settings = Mapping[str, Any]  # by dotted key; lists as JSON


@dataclass(frozen=True)
class Run:
    """One model that was scored.

    Attributes
    ----------
    path : the folder of the run
    model : "transformer", "gru", "kneser_ney_5", ...
    seed : None where it is unknown
    settings : those that decide the score, but for the seed; None where they are unknown
    scores : by name, of `METRICS`
    blocks : nats of blocks of the text that was scored; None where there are none
    bits_per_nat : bits per byte for a nat per token; None where the bytes of the text are unknown
    """

    path: Path
    model: str
    seed: int | None
    settings: Settings | None
    scores: Mapping[str, float]
    blocks: BlockNats | None = None
    bits_per_nat: float | None = None


@dataclass
class Found:
    """Runs, and a line for whatever was left out."""

    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rung_of(model: str) -> str:
    """The stage that makes a model, which is also where its settings stand."""
    return RUNGS.get(model, COUNTS)


def find_runs(paths: Iterable[Path]) -> Found:
    """All runs in these folders and below; one that cannot be read is noted and left out.

    Raises
    ------
    InputError
        If a path is no folder, or there is no run in any of them.
    """
    found = Found()
    seen: set[Path] = set()
    paths = list(paths)
    for path in paths:
        if not path.is_dir():
            reason = "is no folder of runs" if path.exists() else "does not exist"
            raise InputError(f"{path} {reason}")
        for folder, hydra, names in _folders(path, seen, found.notes):
            try:
                found.runs += _read(folder, hydra, names, found.notes)
            except DAMAGE as error:
                found.notes.append(f"{folder} is damaged and left out: {_one_line(error)}")
            except OSError as error:
                found.notes.append(f"{folder} cannot be read and is left out: {_one_line(error)}")
    if not found.runs:
        why = f": {found.notes[0]}" if found.notes else ""
        raise InputError(f"no finished run in {', '.join(map(str, paths))}{why}")
    return found


def _folders(
    root: Path, seen: set[Path], notes: list[str]
) -> Iterator[tuple[Path, bool, set[str]]]:
    """Each folder not yet seen, whether Hydra made it, and its files; in the order of names."""

    def unreadable(error: OSError) -> None:
        notes.append(f"{error.filename} cannot be read and is left out: {error.strerror}")

    for folder, below, names in os.walk(root, onerror=unreadable, followlinks=True):
        if (place := Path(folder).resolve()) in seen:  # as where links go in a circle
            below.clear()
            continue
        seen.add(place)
        hydra = ".hydra" in below
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield Path(folder), hydra, set(names)


def _read(folder: Path, hydra: bool, names: set[str], notes: list[str]) -> list[Run]:
    if NOTHING_TO_SCORE in names:
        return []
    if any(name.startswith("unfinished") for name in names):
        notes.append(f"{folder} is unfinished and left out")
        return []
    if not names & {LADDER, METRICS_FILE}:
        if hydra and not (folder / TABLE_OF_LADDER).exists():
            notes.append(f"{folder} has no result and is left out")
        return []
    settings = _settings(folder, hydra)
    seed = None if settings is None else int(settings["seed"])
    scored: dict[str, dict[str, float]]
    if LADDER in names:
        scored, rate = _ladder(folder / LADDER)
        if not scored:
            notes.append(f"{folder} has no validation text in {LADDER} and is left out")
            return []
    else:
        scored, rate = _stage(folder, settings, hydra, names), None
    blocks = None
    if BLOCK_NATS in names:
        try:
            blocks = _blocks(folder / BLOCK_NATS, scored)
        except DAMAGE as error:
            notes.append(f"{folder / BLOCK_NATS} is damaged and not used: {_one_line(error)}")
    runs = [
        Run(folder, model, seed, _deciding(model, scores, settings, blocks), scores, blocks, rate)
        for model, scores in scored.items()
    ]
    for run in runs:
        for text in (run.model, *(run.settings or {}), *(run.settings or {}).values()):
            if not str(text).isprintable():  # a terminal may take orders
                raise ValueError(f"{text!r} cannot be printed")
    return runs


def _ladder(path: Path) -> tuple[dict[str, dict[str, float]], float | None]:
    """The scores of each model on the validation text, and bits per byte for a nat per token."""
    scored, rate = {}, None
    for row in csv.DictReader(io.StringIO(_text(path), newline="")):
        if row["split"] != "val" or row["model"] == ORACLE:
            continue
        rate = int(row["tokens"]) / int(row["bytes"]) / math.log(2)
        names = ("bits_per_byte", "nats_per_token", "perplexity")
        scored[row["model"]] = {name: _finite(row[name]) for name in names}
    return scored, rate


def _stage(
    folder: Path, settings: Settings | None, hydra: bool, names: set[str]
) -> dict[str, dict[str, float]]:
    """The scores of the models of one rung."""
    metrics = json.loads(_text(folder / METRICS_FILE))
    nats = metrics["val_nats"]
    if isinstance(nats, dict):
        return {
            model: {"nats_per_token": _finite(value), "perplexity": math.exp(_finite(value))}
            for model, value in nats.items()
        }
    return {_neural_model(folder, settings, hydra, names): {"val_nats": _finite(nats)}}


def _neural_model(folder: Path, settings: Settings | None, hydra: bool, names: set[str]) -> str:
    """What a stage trained: it says so at the head of its blocks, or else its own name tells."""
    if BLOCK_NATS in names:
        model = _text(folder / BLOCK_NATS).partition("\n")[0].rstrip().rpartition(",")[2]
        if model in RUNGS:
            return model
    stage = _section(folder / ".hydra/hydra.yaml", "hydra.job.name") if hydra else folder.name
    if stage not in RUNGS:
        raise ValueError(f"{METRICS_FILE} is of no rung that is known, but of {stage!r}")
    return str(stage if stage == "transformer" else (settings or {}).get("mlp.network", stage))


def _blocks(path: Path, scored: Mapping[str, Mapping[str, float]]) -> BlockNats:
    """The blocks in a file; ValueError if they are of another run than the scores."""
    blocks = BlockNats.from_csv(_text(path))
    for model, scores in scored.items():
        expected = scores.get("val_nats", scores.get("nats_per_token"))
        found = float(sum(blocks.nats[model])) / sum(blocks.tokens)
        if expected is None or not math.isclose(found, expected, rel_tol=0, abs_tol=TOLERANCE):
            raise ValueError(f"{model} has {found:.6f} nats per token there, and {expected} here")
    return blocks


def _text(path: Path) -> str:
    """A file that anyone may have written; ValueError for a pipe, a device or what is huge."""
    size = path.stat().st_size
    if not path.is_file() or size > MOST_BYTES:
        raise ValueError(f"{path.name} is no file of at most {MOST_BYTES:,} bytes")
    return path.read_text("utf-8")


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a score is {number}")
    return number


def _one_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return " ".join(str(error).split()) or type(error).__name__


# --- Settings -------------------------------------------------------------------------------------


def settings_of(folder: Path) -> Settings | None:
    """All settings of the run in a folder, the seed among them; None where nothing tells.

    Raises
    ------
    InputError
        If what should tell them is damaged.
    """
    try:
        return _settings(folder, (folder / ".hydra").is_dir())
    except (*DAMAGE, OSError) as error:
        raise InputError(f"the settings of {folder} cannot be read: {_one_line(error)}") from error


def _settings(folder: Path, hydra: bool) -> Settings | None:
    """All settings of a run, the seed among them; None where nothing tells."""
    for job in (folder,) if hydra else (folder.parent,):
        if (told := job / ".hydra/config.yaml").exists():
            return _resolved(_flat(_sections(_text(told))))
    lock = folder.parent.parent / "dvc.lock"
    if folder.parent.name != "outputs" or not lock.exists():
        return None
    stages = _sections(_text(lock))["stages"]
    recorded: dict[str, Any] = {}
    if folder.name not in stages:  # it was run by hand
        return None
    for stage in ("prepare", folder.name):
        recorded |= stages[stage]["params"]["params.yaml"]
    return _flat(recorded)


def _deciding(
    model: str, scores: Mapping[str, float], settings: Settings | None, blocks: BlockNats | None
) -> Settings | None:
    """The settings without the seed and without those that this score does not depend on.

    What was read counts as one, where it is known: a file can change under its name.
    """
    if settings is None:
        return None
    rung = rung_of(model)
    sections = ["data", "tokenizer", rung]
    if "val_nats" not in scores:
        sections.append("evaluate")
    digest = {} if blocks is None else {DIGEST: blocks.data}
    return digest | {
        key: value
        for key, value in settings.items()
        if (key.partition(".")[0] in sections and key not in WITHOUT_EFFECT)
        or (key == "runtime.kernels" and rung != COUNTS)
    }


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1, but that 1e-08 is a number: Hydra reads it as one, and DVC writes it.

    A value can stand for one that is told elsewhere, and so on: a short file may unfold to one that
    fills any memory. A file that would is refused before it does.
    """

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        left, todo = MOST_CHARACTERS, [node] if node else []
        while todo:
            each = todo.pop()
            left -= 1 + len(each.value)
            if left < 0:
                raise yaml.YAMLError(f"it unfolds to more than {MOST_CHARACTERS:,} characters")
            if isinstance(each, yaml.MappingNode):
                todo += (part for pair in each.value for part in pair)
            elif isinstance(each, yaml.SequenceNode):
                todo += each.value
        return node


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"]
)
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")  # to another setting; a dot is a level up


def _sections(text: str) -> dict[str, Any]:
    """A mapping that Hydra wrote; quickly, as the jobs of a sweep have most sections in common."""
    return {
        key: value
        for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE)
        for key, value in _parsed(part).items()
    }


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> dict[str, Any]:
    return dict(_yaml(text) or {})


def _yaml(text: str) -> Any:
    """What a YAML file says; its parser, in C, crashes where very many levels are nested."""
    if sum(map(text.count, "[{-?")) > MOST_NESTED:
        raise ValueError(f"it has more than {MOST_NESTED:,} lists and items")
    return yaml.load(text, Loader)


def _section(path: Path, key: str) -> Any:
    value = _yaml(_text(path))
    for name in key.split("."):
        value = value[name]
    return value


def _resolved(settings: Settings) -> Settings:
    """With the values that settings refer to; DVC has them so, while Hydra keeps the reference."""
    resolved = dict(settings)
    for key, value in settings.items():
        if found := REFERENCE.fullmatch(str(value)):
            levels = len(found[1])
            above = key.split(".")[:-levels] if levels else []
            resolved[key] = settings.get(".".join((*above, found[2])), value)
    return resolved


def _flat(node: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys; a list is one value."""
    return {
        key: json.dumps(value) if isinstance(value, list) else value
        for key, value in dotted(node).items()
    }
