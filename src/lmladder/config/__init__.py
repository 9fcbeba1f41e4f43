"""The configuration: composed by Hydra from `conf/`, validated by the settings of components."""

from lmladder.system.extras import require

require(__name__, "hydra", "omegaconf")

from lmladder.config.composing import (
    CONFIGURATION_ERRORS,
    VERSION_BASE,
    arguments,
    composed,
    describe,
    one_line,
    plain,
    register_resolver,
    validated,
)
from lmladder.config.schema import STAGES, Config, RuntimeSettings, schema

from omegaconf import DictConfig, OmegaConf


def _with_seed(key: str, seed: int, *, _root_: DictConfig) -> DictConfig:
    if not OmegaConf.is_dict(settings := OmegaConf.select(_root_, key)):
        raise ValueError(f"with_seed: unknown rung {key}")
    values = OmegaConf.to_container(settings, resolve=True)
    return OmegaConf.create({"watch": "models", **values, "seed": seed})  # type: ignore[dict-item]


# `${with_seed:transformer,1}` is a copy of the settings of a rung with another seed, for `rungs`.
register_resolver("with_seed", _with_seed, replace=True)
