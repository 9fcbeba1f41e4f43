"""The settings of a run, from the files beside it, which anyone may have written.

OmegaConf would do it as well, but takes 30 ms for one composed configuration, this module 0.3 ms;
and it would resolve `${oc.env:NAME}`, which must not be done for files of strangers.
"""

import functools
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmladder.system.settings import dotted

import yaml

MAX_BYTES = 1 << 24  # that are read of a file
MAX_YAML = 1 << 20  # characters of a YAML file; the parser takes a second for 1.6 million
MAX_DEPTH = 50  # levels of nesting; the parser, in C, crashes at 50,000
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")  # to another setting; a dot is a level up

Settings = Mapping[str, Any]  # by dotted key; lists as JSON


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1, except that 1e-08 is a number: Hydra reads it as one, and DVC writes it."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"]
)


def read_bytes(path: Path) -> bytes:
    """A file that anyone may have written; ValueError for a pipe, a device or what is huge."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_BYTES:
        raise ValueError(f"{path.name} is not a file of at most {MAX_BYTES:,} bytes")
    return path.read_bytes()


def read_text(path: Path) -> str:
    return read_bytes(path).decode()


def read_settings(folder: Path, hydra: bool) -> Settings | None:
    """All settings of the run in a folder, the seed among them; None where they are unknown.

    They are what Hydra wrote beside the run, or beside the ladder that it is a part of, or what DVC
    recorded in dvc.lock when it made the folder `outputs/<stage>`.

    Parameters
    ----------
    hydra : whether there is a folder .hydra in it
    """
    ladder = folder.parent.parent if folder.parent.name == "rungs" else folder.parent
    config = (folder if hydra else ladder) / ".hydra/config.yaml"
    if config.exists():
        return _resolved(flat(read_yaml(config)))
    name, stages = locked_stages(folder)
    if name not in stages:  # it was run without DVC
        return None
    recorded: dict[str, Any] = {}
    for stage in ("prepare", name):
        recorded |= stages[stage]["params"]["params.yaml"]
    return flat(recorded)


def locked_stages(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The stage that made `outputs/<stage>` or `outputs/rungs/<name>`, and all of its dvc.lock.

    There are none without a dvc.lock.
    """
    outputs, name = folder.parent, folder.name
    if outputs.name == "rungs":
        outputs, name = outputs.parent, f"rung@{name}"
    lock = outputs.parent / "dvc.lock"
    if outputs.name != "outputs" or not lock.exists():
        return name, {}
    return name, read_yaml(lock)["stages"]


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping that Hydra or DVC wrote; fast, as the jobs of a sweep share most sections."""
    text = read_text(path)
    if len(text) > MAX_YAML:
        raise ValueError(f"{path.name} has more than {MAX_YAML:,} characters")
    return {
        key: value
        for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE)
        for key, value in _parsed(part).items()
    }


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> dict[str, Any]:
    depth = 0
    for event in yaml.parse(text, Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):  # a short file may unfold
            raise ValueError(f"it has more than {MAX_DEPTH} levels, or an alias, as no run writes")
    return dict(yaml.load(text, Loader) or {})


def _resolved(settings: Settings) -> Settings:
    """With the values that settings refer to: DVC writes these, Hydra keeps the reference."""
    resolved = dict(settings)
    for key, value in settings.items():
        if found := REFERENCE.fullmatch(str(value)):
            levels = len(found[1])
            above = key.split(".")[:-levels] if levels else []
            resolved[key] = settings.get(".".join((*above, found[2])), value)
    return resolved


def flat(node: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys; a list is one value."""
    return {
        key: json.dumps(value) if isinstance(value, list) else value
        for key, value in dotted(node).items()
    }
