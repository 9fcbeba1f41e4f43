"""Read a composed configuration into dataclasses; format errors and the help of settings."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from difflib import SequenceMatcher
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from lmladder.config.hydra import FAMILIES
from lmladder.config.schema import Config
from lmladder.models.own import load_watched
from lmladder.models.registry import GROUPS, KINDS
from lmladder.system.errors import InputError
from lmladder.system.settings import GROUP, Described, Family, default_of, read

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

SIMILAR = 0.6  # likeness from which a setting is suggested
# What Hydra raises for a configuration that cannot be composed.
CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)


def typed(node: DictConfig) -> Config:
    """Return the composed configuration as validated dataclasses; load its kinds of rungs.

    Raises
    ------
    InputError
        If a value is missing, of the wrong type, out of range, or incompatible with another one, or
        the file of a kind of rung cannot be loaded.
    """
    try:
        given: Any = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"configuration: {one_line(error)}") from None
    load_watched(given.get("rungs"))
    return read(Config, given)


def arguments(given: Iterable[str]) -> list[str]:
    """Return the arguments of a program in the order and the spelling that Hydra accepts.

    Options with their values precede overrides, and `experiment=null`, the default in
    conf/config.yaml, becomes an empty list.
    """
    ordered = sorted(
        given,
        key=lambda each: not each.startswith("-") and ("=" in each or each.startswith(("~", "+"))),
    )
    return [
        re.sub(r"(?<==|,)null(?=,|$)", "[]", each) if each.startswith("experiment=") else each
        for each in ordered
    ]


# The beginnings of lines in messages of Hydra and OmegaConf that do not help users.
_DETAILS = ("full_key:", "object_type=", "reference_type=", "To append", "Set the env")


def one_line(error: BaseException) -> str:
    """Return the message of an error of Hydra or OmegaConf as one line that names the key."""
    if (lexer := "LexerNoViableAltException: ") in str(error):
        override = str(error).partition(lexer)[2].splitlines()[0].strip()
        return f"cannot read {override}; a value with special characters needs quotes: key='value'"
    if search := re.search(rf"already at '({'|'.join(GROUPS)})'.*=(\w+)'", str(error), re.DOTALL):
        group, name = search.groups()
        return f"there is no {group}/{name}.yaml; give the folder with {group}/: --config-dir=..."
    cause = error.__cause__ or error.__context__ or error
    schema = getattr(cause, "object_type", None)
    if isinstance(cause, AttributeError | KeyError) and is_dataclass(schema):
        return _unknown_setting(getattr(cause, "full_key", ""), schema)
    lines: list[str] = []
    for each in (error, error.__cause__):
        for line in str(each or "").splitlines():
            text = " ".join(line.split())
            if text.startswith("Config search"):
                break
            if text.startswith("full_key:") and each is error and not error.__cause__:
                text = f"(at {text.removeprefix('full_key:').strip()})"
            if text and not text.startswith(_DETAILS) and text not in lines:
                lines.append(text)
    return " ".join(lines) or type(error).__name__


def _unknown_setting(full_key: str, schema: Any) -> str:
    above, _, key = full_key.rpartition(".")
    for family in FAMILIES.values():
        schemas = {kind: family.settings(kind) for kind in family}
        owners = [kind for kind, each in schemas.items() if key in _names(each)]
        if schema in schemas.values() and owners:
            return f"unknown setting {full_key}; it belongs to {family.name} {' or '.join(owners)}"
    beside = [f"{above}.{name}".lstrip(".") for name in _names(schema)]
    known = {each: _likeness(key, each.rpartition(".")[2]) for each in (*beside, *_keys(Config))}
    best = max(known.values())
    if best < SIMILAR:
        return f"unknown setting {full_key}; choose from {', '.join(_names(schema))}"
    likely = [each for each, likeness in known.items() if likeness == best]
    near = {each: _nearness(each, full_key) for each in likely}
    nearest = [each for each in likely if near[each] == max(near.values())]
    return f"unknown setting {full_key}; did you mean {' or '.join(nearest)}?"


def _nearness(key: str, other: str) -> tuple[int, int]:
    """Return how many groups of two keys are the same, and less the deeper the first one is."""
    pairs = zip(key.split("."), other.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), -key.count(".")


def _likeness(word: str, name: str) -> float:
    """Return how likely a name is meant by a word: "lr" and "learning" mean learning_rate."""
    if word == name:
        return 2
    initials = "".join(part[:1] for part in name.split("_"))
    if word == initials or name.startswith(f"{word}_"):
        return 1
    return SequenceMatcher(None, word, name).ratio()


def _keys(schema: Any, path: str = "") -> Iterator[str]:
    """Yield the keys of all settings below a schema, with each choice of a component."""
    types = get_type_hints(schema)
    for each in fields(schema):
        name, kind, family = f"{path}{each.name}", types[each.name], each.metadata["family"]
        yield name
        if get_origin(kind) is dict:
            continue
        choices = [name] if family is KINDS else family or ()  # a stage has the kind of its name
        groups = [family.settings(it) for it in choices if it in family] if family else [kind]
        for group in filter(is_dataclass, groups):
            yield from _keys(group, f"{name}.")


def _names(schema: Any) -> list[str]:
    return [each.name for each in fields(schema)]


def describe(node: DictConfig) -> str:
    """Return the reference of all settings for --help: value, type, range and meaning of each.

    Parameters
    ----------
    node : the composed configuration, whose choices determine the settings
    """
    return "\n".join(map(str, _settings(node)))


def composed(conf: Path, overrides: Iterable[str] = ()) -> DictConfig:
    """Return the configuration that the files of a folder `conf` and overrides give.

    Raises InputError if a key or a choice is unknown, or a value has the wrong type.
    """
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            return compose("config", list(overrides))
    except CONFIGURATION_ERRORS as error:
        raise InputError(f"configuration: {one_line(error)}") from None


def reference(conf: Path) -> list[Described]:
    """Return all settings: those of the defaults, and those that exist with another choice."""
    found = {each.key: each for each in _settings(composed(conf))}
    order = list(found)
    kinds = {each.value for each in found.values()}  # and other values
    top: dict[str, list[str]] = {}  # by group of settings, the overrides that choose it
    below: dict[str, list[str]] = {}
    for key in found:
        *above, group = key.split(".")
        for path in sorted(conf.glob(f"{group}/*.yaml")):
            override = f"{group}@{key}={path.stem}" if above else f"{key}={path.stem}"
            (below if above else top).setdefault(key, []).append(override)
    for groups in (top, below):  # apart, because a choice in `top` may have none in `below`
        for overrides in zip_longest(*groups.values()):
            chosen = dict(zip(groups, overrides, strict=True))
            for each in _settings(composed(conf, filter(None, overrides))):
                kinds.add(each.value)
                owner = max((key for key in groups if each.key.startswith(f"{key}.")), default="")
                found.setdefault(each.key, replace(each, choice=chosen.get(owner) or ""))
    for kind in KINDS:
        if kind not in kinds and (group := KINDS[kind].fit.group) in GROUPS:
            for each in _described(KINDS.settings(kind), {}, f"{group}.NAME.", KINDS):
                found.setdefault(each.key, replace(each, choice=f"kind: {kind}"))

    def place(each: Described) -> int:
        group = (
            each.key if each.type == GROUP and each.key in order else each.key.rpartition(".")[0]
        )
        return order.index(group if group in order else each.key.partition(".")[0])

    return sorted(found.values(), key=place)


def _settings(node: DictConfig) -> Iterator[Described]:
    values: Any = OmegaConf.to_container(node, resolve=False)
    load_watched(values.get("rungs"))
    return _described(Config, values, "", None)


def _described(
    schema: Any, values: Any, path: str, family: Family[Any] | None
) -> Iterator[Described]:
    types = get_type_hints(schema)
    for each in fields(schema):
        name, kind, chosen_from = f"{path}{each.name}", types[each.name], each.metadata["family"]
        value = values.get(each.name, default_of(each))
        if chosen_from is None and not is_dataclass(kind):
            choices = tuple(family) if family is not None and each.name == family.key else ()
            yield Described.of(name, each, kind, value, choices)
            continue
        yield Described(name, None, GROUP, "", (), each.metadata["help"])
        several = get_origin(kind) is dict
        for key, group in value.items() if several else [("", value)]:
            if not isinstance(group, dict):  # the value is missing
                continue
            settings = chosen_from.settings(group[chosen_from.key]) if chosen_from else kind
            below = f"{name}.{key}." if several else f"{name}."
            yield from _described(settings, group, below, chosen_from)
