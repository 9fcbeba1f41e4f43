"""Settings: Pydantic models that declare type, range, choices and meaning of each value once.

A component has its model beside it. The values are in `conf/`, so a model declares no defaults;
only `Strategy`, which programs construct, has some, which change nothing.
Validation, help, checkpoints and comparisons read these models.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from lmladder.system.errors import InputError

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import core_schema

MAX_INTEGER = 2**63 - 1  # the largest integer of NumPy
SIMILAR = 0.6  # likeness from which a name is suggested
MAX_CHOICES = 20  # that a message lists

Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Index = Annotated[int, Field(ge=0, le=MAX_INTEGER)]  # or a seed
Fraction = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Values from a file: immutable, without unknown keys, strict about types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Settings(Record):
    """The settings of a component."""


@dataclass(frozen=True)
class OneOf:
    """An annotation of a text that must be one of some names, such as those of a registry."""

    names: Iterable[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.literal_schema([*self.names])


S = TypeVar("S", bound=BaseModel)


def validate(schema: type[S], given: Any, path: str = "") -> S:
    """Return the settings in plain values; an integer is accepted for a float.

    Parameters
    ----------
    path : of the settings in the configuration, such as "transformer", for messages

    Raises
    ------
    InputError
        If a key is unknown or missing, or a value has another type or is out of range; names the
        key.
    """
    try:
        return TypeAdapter(schema).validate_python(given)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # An unknown key explains a missing one.
        first = min(found, key=lambda each: each["type"] != "extra_forbidden")
        raise InputError(_one_line(first, schema, given, path)) from None


# What Pydantic writes in messages, and what we write instead.
WORDING = {
    "Input should be": "must be",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "more than",
    "List should have": "must have",
    " after validation": "",
}


def _one_line(error: Any, schema: Any, given: Any, path: str) -> str:
    """Return an error of Pydantic in one line that names the dotted key."""
    parts, value, last = [path] if path else [], given, len(error["loc"]) - 1
    for index, part in enumerate(error["loc"]):
        inside = isinstance(value, Mapping) and part in value
        # Other parts of a location are the names of chosen components, and indices of lists.
        if inside or (index == last and error["type"] == "missing"):
            parts.append(part)
        value = value[part] if inside else value
    key, facts = ".".join(parts), error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        known = [f"{path}.{each}".lstrip(".") for each in keys_of(schema)]
        return f"unknown setting {key}; {did_you_mean(key, known)}"
    if error["type"] == "missing" or error["type"] == "union_tag_not_found":
        key += f".{facts['discriminator']}".replace("'", "") if facts else ""
        return f"{key} is missing; give {key}=..."
    if error["type"] == "union_tag_invalid":
        known = facts["expected_tags"].replace("'", "").split(", ")
        return f"{key}: unknown {facts['tag']!r}; {did_you_mean(facts['tag'], known)}"
    if error["type"] == "value_error":
        message = str(facts["error"])  # which may begin with the name of a setting
        joint = "." if re.split(r"\W", message)[0] in value else ": "
        return f"{key}{joint}{message}".lstrip(".: ")
    text, end = error["msg"], ""
    if error["type"] in ("model_attributes_type", "model_type", "dict_type"):
        text = "must be a group of settings"
        if isinstance(error["input"], str):
            several = error["type"] == "dict_type"
            end = f"; choose {'+' if several else f'{parts[-1]}@'}{key}={error['input']}"
    for theirs, ours in WORDING.items():
        text = text.replace(theirs, ours)
    return f"{key} {text}, got {json.dumps(error['input'], default=repr)}{end}".lstrip()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for an unknown word or dotted key: similar known ones, or all of them."""
    known = list(known)
    likeness = {each: _likeness(word.split("."), each.split(".")) for each in known}
    best = max(likeness.values(), default=(0.0, 0, 0))
    if best[0] >= SIMILAR:
        similar = [each for each in known if likeness[each] == best]
        return f"did you mean {' or '.join(map(repr, similar))}?"
    if len(known) > MAX_CHOICES:
        return "`lmladder settings` prints all"
    return f"choose from {', '.join(known)}"


def _likeness(word: list[str], other: list[str]) -> tuple[float, int, int]:
    """Return how likely a key is meant: by its name, by common groups, and by having few groups.

    "lr" means learning_rate and matrix_learning_rate.
    """
    (*groups, short), (*others, name) = word, other
    initials = "".join(part[:1] for part in name.split("_"))
    same = (
        short == name or name.startswith(f"{short}_") or (initials.endswith(short) and "_" in name)
    )
    likeness = float(same) or SequenceMatcher(None, short, name).ratio()
    return likeness, len({*groups} & {*others}), -len(others)


@dataclass(frozen=True)
class Described:
    """What a user needs to know of a setting.

    Attributes
    ----------
    key : dotted, such as "transformer.n_layer"
    value : of the given configuration; None also if it has none
    allowed : type, choices and range, such as "integer, at least 1"; empty for a group of settings
    help : its meaning
    choice : the component that has it, such as "sgd", if all choices are described
    """

    key: str
    value: Any
    allowed: str
    help: str
    choice: str = ""

    def __str__(self) -> str:
        """Return the heading of a group, or a setting in two lines."""
        if not self.allowed:
            return f"{self.key}: {self.help}"
        return f"  {self.key}={as_override(self.value)}\n      {self.allowed}: {self.help}"


_json_schema = cache(lambda schema: schema.model_json_schema())  # takes long


def described(schema: type[BaseModel], values: Any = None, prefix: str = "") -> Iterator[Described]:
    """Yield each setting of a schema and below.

    Parameters
    ----------
    values : the configuration, which determines the components; None: yield those of all choices
    """
    properties = _json_schema(schema)["properties"]
    for name, field in schema.model_fields.items():
        key, value = f"{prefix}{name}", values.get(name) if values else None
        if not (groups := [*_models(field.annotation)]):
            yield Described(key, value, _allowed(properties[name]), field.description or "")
            continue
        yield Described(key, None, "", field.description or "")
        entries = {f"{key}.": value}
        if get_origin(field.annotation) is dict:
            given = {"NAME": None} if values is None else value or {}
            entries = {f"{key}.{name}.": each for name, each in given.items()}
        for start, each in entries.items():
            kinds = {group: _kind(group) for group in groups}
            for group, (tag, kind) in kinds.items():
                if each is None or each.get(tag) == kind:
                    for setting in described(group, each, start):
                        if setting.key == f"{start}{tag}" and len(kinds) > 1:
                            names = ", ".join(str(name) for _, name in kinds.values())
                            setting = replace(setting, allowed=f"one of {names}")
                        choice = "" if each else setting.choice or kind or ""
                        yield replace(setting, choice=choice)


def keys_of(schema: Any) -> list[str]:
    """Return the dotted keys of all settings of a schema, with each choice of a component."""
    keys = (each.key for model in _models(schema) for each in described(model))
    return [*dict.fromkeys(keys)]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type, such as those of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


def _kind(schema: type[BaseModel]) -> tuple[str, str | None]:
    """Return the field with one possible value that distinguishes a model of a union, and it."""
    for name, field in schema.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            return name, get_args(field.annotation)[0]
    return "", None


TYPES = {"string": "text", "boolean": "true or false"}
LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


def _allowed(node: Mapping[str, Any]) -> str:
    """Return what a JSON schema of a value allows, such as "integer, at least 1"."""
    if "anyOf" in node:
        return " or ".join(map(_allowed, node["anyOf"]))
    if names := node.get("enum", [node["const"]] if "const" in node else []):
        return f"one of {', '.join(names)}" if len(names) > 1 else names[0]
    text = TYPES.get(node["type"], node["type"])
    if node["type"] == "array":
        count = node.get("minItems")
        text = f"list of {count if count == node.get('maxItems') and count else ''} "
        text = f"{text.strip()} ({_allowed(node['items'])})"
    limits = [
        f"{words} {node[name]:,}"
        for name, words in LIMITS.items()
        if name in node and node[name] != MAX_INTEGER
    ]
    return ", ".join([text, *limits])


def as_override(value: Any) -> str:
    """Return a value as Hydra's overrides have it, such as "[0.9, 0.99]"."""
    plain = isinstance(value, str) and value.isprintable()
    return value if plain else json.dumps(value, default=str)


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys: {"data": {"seed": 0}} becomes {"data.seed": 0}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
