"""The schemas by which Hydra, and DVC through it, reject a mistake when composing.

The root schema leaves open what depends on a choice, such as an optimizer's settings. Each choice
in `conf/` begins with the schema of its component, `/optimizer_muon@_here_`, so its keys and types
are checked too.
"""

from typing import Any

from lmladder.config.schema import Config
from lmladder.data.settings import CORPORA, TOKENIZERS
from lmladder.models.registry import KINDS
from lmladder.optim.settings import OPTIMIZERS, SCHEDULES
from lmladder.system.settings import Family

from hydra.core.config_store import ConfigStore

FAMILIES: dict[str, Family[Any]] = {  # by the beginning of their schemas' names
    "data": CORPORA,
    "tokenizer": TOKENIZERS,
    "rung": KINDS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def register() -> None:
    """Register the schemas with Hydra: "schema", and one for each component of a family."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, family in FAMILIES.items():
        for kind in family:
            store.store(name=f"{group}_{kind}", node=family.settings(kind))
