"""The schema of the whole configuration, composed from the settings of all packages.

The values are in `conf/`. Both entry points, Hydra for people and params.yaml for DVC, use this
schema.
"""

import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from lmladder.data.settings import CORPORA, TOKENIZERS
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models.registry import GROUPS, KINDS
from lmladder.sampling.settings import SampleSettings
from lmladder.system.errors import InputError
from lmladder.system.settings import setting

NAME = re.compile(r"\w[\w.-]*", re.ASCII)  # of a rung or a mixture


@dataclass
class RuntimeSettings:
    """Settings of the computation; they affect at most the last digits of results."""

    threads: int | None = setting(
        "number of threads, which affects speed only; null: one per core", at_least=1, at_most=1024
    )
    kernels: str = setting(
        "compiled kernels or NumPy, which is slower; results differ in the last digits",
        choices=("numba", "numpy"),
    )


@dataclass
class Config:
    """The settings of all stages."""

    seed: int = setting("seed of weights, batches, dropout and samples", at_least=0)
    runtime: RuntimeSettings = setting("threads and kernels", settings=RuntimeSettings)
    data: Any = setting("the text and its splits", family=CORPORA)
    tokenizer: Any = setting("the tokenizer", family=TOKENIZERS)
    bigram: Any = setting("the count models", family=KINDS)
    mlp: Any = setting("the MLP, or a recurrent network instead", family=KINDS)
    transformer: Any = setting("the Transformer", family=KINDS)
    rungs: dict[str, Any] = setting("additional rungs, by name", default={}, family=KINDS)
    mixtures: dict[str, Any] = setting("mixtures of rungs, by name", default={}, family=KINDS)
    rung: str | None = setting(
        "the name in rungs or mixtures that the stage `rung` or `mixture` fits", default=None
    )
    sample: SampleSettings = setting("samples of each model", settings=SampleSettings)
    evaluate: EvaluateSettings = setting("the perplexity table", settings=EvaluateSettings)
    logger: Any = setting("_target_ of a logger and its settings; null: none", default=None)

    def check(self, path: str) -> None:
        for group in GROUPS:
            for name in getattr(self, group):
                if not NAME.fullmatch(name):  # it is a folder, too
                    raise InputError(
                        f"{path}{group}: {name!r} must consist of letters, digits, _, - and ."
                    )
        rungs = {stage: ("rungs", getattr(self, stage)) for stage in STAGES}
        for group in GROUPS:
            rungs |= {f"{group}.{name}": (group, it) for name, it in getattr(self, group).items()}
        owners: dict[str, str] = {}
        for key, (group, it) in rungs.items():
            own = it.kind if key in STAGES else key.rpartition(".")[2]
            for model in getattr(it, "models", [own]):
                if (other := owners.setdefault(model, key)) != key:
                    raise InputError(f"{path}{key}: {path}{other} has a model {model!r} too")
            if (right := KINDS[it.kind].fit.group) != group:
                raise InputError(f"{path}{key}.kind={it.kind}: rungs of this kind are in {right}")

    @property
    def text(self) -> dict[str, Any]:
        """Return the settings that determine the prepared text, as corpus.json records them."""
        settings = {"data": asdict(self.data), "tokenizer": asdict(self.tokenizer)}
        del settings["data"]["prompt"]
        return settings


# The stages that fit one rung each; additional rungs are in `GROUPS`.
STAGES = tuple(
    each.name
    for each in fields(Config)
    if each.metadata["family"] is KINDS and each.name not in GROUPS
)
