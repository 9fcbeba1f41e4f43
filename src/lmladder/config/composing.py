"""Compose conf/ with Hydra, validate the result, and describe its errors and settings."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lmladder.config.schema import Config, schema
from lmladder.models import GROUPS, load_watched
from lmladder.system.errors import InputError
from lmladder.system.extras import exit_without, require
from lmladder.system.settings import described, did_you_mean, keys_of, validate

if (script := Path(sys.argv[0])).parent.name == "stages":
    exit_without(f"stages/{script.name}", "hydra", "omegaconf")
require(__package__, "hydra", "omegaconf")

import hydra.utils
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# What Hydra raises for a configuration that cannot be composed.
CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)
# The beginnings of lines in messages of Hydra and OmegaConf that do not help users.
DETAILS = ("full_key:", "object_type=", "reference_type=", "To append", "Set the env", "Key '")

# Hydra 1.3 warns without version_base, 1.4 with it, and where a configuration names a callback or a
# logger. OmegaConf 2.4 has another name for the method.
HYDRA_1_3 = hydra.__version__.startswith("1.3.")
VERSION_BASE = {"version_base": "1.3"} if HYDRA_1_3 else {}
TRUSTED = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
MAIN: dict[str, Any] = VERSION_BASE or {"execution_whitelist": TRUSTED}
register_resolver: Any = getattr(
    OmegaConf, "register_new_resolver" if HYDRA_1_3 else "register_resolver"
)


def _with_seed(key: str, seed: int, *, _root_: DictConfig) -> DictConfig:
    if not OmegaConf.is_dict(settings := OmegaConf.select(_root_, key)):
        raise ValueError(f"with_seed: unknown rung {key}")
    values = OmegaConf.to_container(settings, resolve=True)
    return OmegaConf.create({"watch": "models", **values, "seed": seed})  # type: ignore[dict-item]


# `${with_seed:transformer,1}` is a copy of the settings of a rung with another seed, for `rungs`.
register_resolver("with_seed", _with_seed, replace=True)


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


def validated(node: DictConfig) -> Config:
    """Return a composed configuration; load the kinds of rungs that it names.

    Raises
    ------
    InputError
        If a value is missing, of the wrong type, out of range, or incompatible with another one, or
        the file of a kind of rung cannot be loaded.
    """
    values = plain(node)
    load_watched(values.get("rungs"))
    return validate(schema(), values)


def plain(node: DictConfig) -> Any:
    """Return a composed configuration as plain values; InputError if one is missing."""
    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise InputError(f"configuration: {one_line(error)}") from None


def composed(conf: Path, overrides: Iterable[str] = ()) -> DictConfig:
    """Return the configuration that the files of a folder `conf` and overrides give.

    Raises InputError if a key or a choice is unknown.
    """
    try:
        with initialize_config_dir(str(conf.resolve()), **VERSION_BASE):
            return compose("config", list(overrides))
    except CONFIGURATION_ERRORS as error:
        raise InputError(f"configuration: {one_line(error)}") from None


def describe(node: DictConfig) -> str:
    """Return the settings of a composed configuration for --help, with the meaning of each."""
    values: Any = OmegaConf.to_container(node, resolve=False)
    load_watched(values.get("rungs"))
    return "\n".join(map(str, described(schema(), values)))


def one_line(error: BaseException) -> str:
    """Return the message of an error of Hydra or OmegaConf as one line that names the key."""
    message = str(error)
    if (lexer := "LexerNoViableAltException: ") in message:
        override = message.partition(lexer)[2].splitlines()[0].strip()
        return f"cannot read {override}; a value with special characters needs quotes: key='value'"
    if found := re.search(rf"already at '({'|'.join(GROUPS)})'.*=(\w+)'", message, re.DOTALL):
        group, name = found.groups()
        return f"there is no {group}/{name}.yaml; give the folder with {group}/: --config-dir=..."
    if found := re.search(r"Could not override '([^']+)'", message):
        if found[1] in GROUPS:
            return f"{found[1]} may have several entries; add one with +{found[1]}=NAME"
        if found[1] in (known := keys_of(schema())):
            return f"{found[1]} is a setting of another choice of its group"
        return f"unknown setting {found[1]}; {did_you_mean(found[1], known)}"
    if found := re.search(
        r"Could not find '(.+)/(\S+)'\s+Available options in '.+':([\s\w]+)\n", message
    ):
        group, name, choices = found.groups()
        return f"unknown choice {group}={name}; {did_you_mean(name, choices.split())}"
    if "Missing mandatory value" in message and (found := re.search(r"full_key: (\S+)", message)):
        return f"{found[1]} is missing; give {found[1]}=..."
    lines: list[str] = []
    for each in (error, error.__cause__):
        for line in str(each or "").splitlines():
            text = " ".join(line.split())
            if text.startswith("Config search"):
                break
            if text.startswith("full_key:") and each is error and not error.__cause__:
                text = f"(at {text.removeprefix('full_key:').strip()})"
            if text and not text.startswith(DETAILS) and text not in lines:
                lines.append(text)
    return " ".join(lines) or type(error).__name__
