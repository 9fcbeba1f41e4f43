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

FAMILIES: dict[str, Family[Any]] = {  # by the prefix of their schema names
    "data": CORPORA,
    "tokenizer": TOKENIZERS,
    "rung": KINDS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def register() -> None:
    """Register the root schema, "schema", and the schema of each component with Hydra."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, family in FAMILIES.items():
        for kind in family:
            store.store(name=f"{group}_{kind}", node=family.settings(kind))
