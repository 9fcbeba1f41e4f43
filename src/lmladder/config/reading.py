"""From a composed configuration, or from a file of anyone's, to checked dataclasses."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

from lmladder.config.rules import leaves, validate
from lmladder.config.schema import Config
from lmladder.errors import InputError

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

T = TypeVar("T")


def typed(node: DictConfig) -> Config:
    """The composed configuration as dataclasses, checked.

    Raises
    ------
    InputError
        If a value is missing, or is one that its type allows but its meaning does not.
    """
    for path in _missing("", node):
        raise InputError(f"{path} has no value; give {path}=...")
    try:
        config = cast(Config, OmegaConf.to_object(node))
    except OmegaConfBaseException as error:
        raise InputError(f"configuration: {one_line(error)}") from None
    _refuse_other_keys("", node, config)
    _refuse_nested(config)
    validate(config)
    return config


def from_mapping(schema: type[T], mapping: dict[str, Any]) -> T:
    """An instance of one of the dataclasses of the schema, from plain values of unknown origin."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(mapping))
        made = cast(T, OmegaConf.to_object(merged))
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{schema.__name__}: {one_line(error)}") from None
    _refuse_nested(made)
    return made


# Lines of Hydra's and OmegaConf's messages that help a developer, not a user.
_NOISE = (
    "full_key:",
    "object_type=",
    "reference_type=",
    "To append",
    "Set the env",
    "Config search",
)


def one_line(error: BaseException) -> str:
    """What an error of Hydra or OmegaConf says, and why, in one line that names the key."""
    if (lexer := "LexerNoViableAltException: ") in str(error):
        override = str(error).partition(lexer)[2].splitlines()[0].strip()
        return f"cannot read {override}; a value with special characters wants quotes: key='value'"
    lines: list[str] = []
    for each in (error, error.__cause__):
        for line in str(each or "").splitlines():
            text = " ".join(line.split())
            if text.startswith("Config search"):
                break
            if text.startswith("full_key:") and each is error and not error.__cause__:
                text = f"(at {text.removeprefix('full_key:').strip()})"
            if text and not text.startswith(_NOISE) and text not in lines:
                lines.append(text)
    return " ".join(lines) or type(error).__name__


def _refuse_other_keys(path: str, node: DictConfig, config: Any) -> None:
    """Raise InputError for what Hydra's `+key=value` and `~key` do past the schema."""
    known = {each.name for each in fields(config)}
    if removed := sorted(known - set(node)):
        raise InputError(f"{path}{removed[0]} has no value; give {path}{removed[0]}=...")
    for key in node:
        where = f"{path}{key!s}"
        if key not in known:
            raise InputError(f"unknown key {where}")
        if is_dataclass(getattr(config, str(key))):
            _refuse_other_keys(f"{where}.", node[key], getattr(config, str(key)))


def _refuse_nested(config: Any) -> None:
    """Raise InputError for a list in a list or the like, which OmegaConf takes for any item."""
    for path, value in leaves("", config):
        if isinstance(value, list) and any(isinstance(each, list | dict) for each in value):
            raise InputError(f"{path} must be a list of single values, not {value}")


def _missing(path: str, node: DictConfig) -> Iterator[str]:
    """Dotted paths of values that are left to the user; interpolations are not followed."""
    for key in node:
        name = str(key)
        if OmegaConf.is_missing(node, name):
            yield path + name
        elif not OmegaConf.is_interpolation(node, name) and OmegaConf.is_dict(node[name]):
            yield from _missing(f"{path}{name}.", node[name])


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys: {"data": {"seed": 0}} as {"data.seed": 0}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
