"""The schemas with which Hydra, and DVC through it, validate a configuration.

The root schema does not contain what depends on a choice, such as the settings of an optimizer.
Each choice in `conf/` begins with the schema of its component, such as `/optimizer_muon@_here_`, so
that its keys and types are validated too.
"""

from typing import Any

from lmladder.config.schema import Config
from lmladder.data.settings import CORPORA, TOKENIZERS
from lmladder.models.registry import KINDS
from lmladder.optim.settings import OPTIMIZERS, SCHEDULES
from lmladder.system.settings import Family

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

FAMILIES: dict[str, Family[Any]] = {  # by the prefix of their schema names
    "data": CORPORA,
    "tokenizer": TOKENIZERS,
    "rung": KINDS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def register() -> None:
    """Register the root schema, "schema", and the schema of each component with Hydra.

    `${with_seed:transformer,1}` is a copy of the settings of a rung with another seed.
    """
    OmegaConf.register_new_resolver("with_seed", _with_seed, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, family in FAMILIES.items():
        for kind in family:
            store.store(name=f"{group}_{kind}", node=family.settings(kind))


def _with_seed(key: str, seed: int, *, _root_: DictConfig) -> DictConfig:
    if not OmegaConf.is_dict(settings := OmegaConf.select(_root_, key)):
        raise ValueError(f"with_seed: unknown rung {key}")
    values: Any = OmegaConf.to_container(settings, resolve=True)
    return OmegaConf.create({**values, "seed": seed})
