"""The settings of a run, from the files beside it, which may have been written by anyone.

OmegaConf takes 30 ms per composed configuration, this module 0.3 ms. OmegaConf would also resolve
`${oc.env:NAME}`, which is not safe for untrusted files.
"""

import functools
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmladder.models.registry import GROUPS
from lmladder.system.settings import dotted

import yaml

MAX_BYTES = 1 << 24  # of a file
MAX_YAML = 1 << 20  # characters of a YAML file; the parser takes a second for 1.6 million
MAX_DEPTH = 50  # levels of nesting; the parser, in C, crashes at 50,000
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")  # to another setting; each dot is a level up

Settings = Mapping[str, Any]  # by dotted key; lists as JSON


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1, except that 1e-08 is a number, as in Hydra; DVC writes numbers so."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"]
)


def read_bytes(path: Path) -> bytes:
    """Read an untrusted file; ValueError if it is a pipe, a device or larger than `MAX_BYTES`."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_BYTES:
        raise ValueError(f"{path.name} is not a file of at most {MAX_BYTES:,} bytes")
    return path.read_bytes()


def read_text(path: Path) -> str:
    """Read an untrusted UTF-8 file; ValueError as `read_bytes`."""
    return read_bytes(path).decode()


def read_settings(folder: Path, hydra: bool) -> Settings | None:
    """Return all settings of the run in a folder, with the seed; None if they are unknown.

    They are in the file that Hydra wrote beside the run or its ladder, or else in dvc.lock if DVC
    made the folder `outputs/<stage>`.

    Parameters
    ----------
    hydra : whether the folder has a folder .hydra
    """
    config = _hydra_folder(folder, hydra) / "config.yaml"
    if config.exists():
        return _resolved(flat(read_yaml(config)))
    name, stages = locked_stages(folder)
    if name not in stages:  # DVC did not run it
        return None
    recorded = [stages[stage]["params"]["params.yaml"] for stage in ("prepare", name)]
    return flat(recorded[0] | recorded[1])


def read_overrides(folder: Path, hydra: bool) -> frozenset[str]:
    """Return what a person gave to Hydra for the run in a folder, such as "recipe=base"."""
    path = _hydra_folder(folder, hydra) / "overrides.yaml"
    lines = read_text(path).splitlines() if path.exists() else []
    return frozenset(line.removeprefix("- ").lstrip("+") for line in lines)


def _hydra_folder(folder: Path, hydra: bool) -> Path:
    """Return the folder of what Hydra wrote beside a run or its ladder."""
    ladder = folder.parent.parent if folder.parent.name in GROUPS else folder.parent
    return (folder if hydra else ladder) / ".hydra"


def locked_stages(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """Return the stage of a folder `outputs/<stage>` or `outputs/<group>/<name>`, and all stages.

    The latter are those of dvc.lock, if there is one.
    """
    outputs, name = folder.parent, folder.name
    if outputs.name in GROUPS:
        outputs, name = outputs.parent, f"{GROUPS[outputs.name]}@{name}"
    lock = outputs.parent / "dvc.lock"
    if outputs.name != "outputs" or not lock.exists():
        return name, {}
    return name, read_yaml(lock)["stages"]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping that Hydra or DVC wrote; its sections are cached, as jobs share most."""
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
        if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):  # aliases may expand
            raise ValueError(f"YAML of a run has no aliases and at most {MAX_DEPTH} levels")
    return dict(yaml.load(text, Loader) or {})


def _resolved(settings: Settings) -> Settings:
    """Return settings with references replaced by values: DVC writes these, Hydra references."""
    resolved = dict(settings)
    for key, value in settings.items():
        if found := REFERENCE.fullmatch(str(value)):
            levels = len(found[1])
            above = key.split(".")[:-levels] if levels else []
            resolved[key] = settings.get(".".join((*above, found[2])), value)
    return resolved


def flat(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by dotted key; a list is one value."""
    return {
        key: json.dumps(value) if isinstance(value, list) else value
        for key, value in dotted(node).items()
    }
