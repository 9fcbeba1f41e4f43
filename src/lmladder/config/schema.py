"""The schema of the whole configuration, made of the settings of all components.

The values are in `conf/`. Both entry points, Hydra for people and params.yaml for DVC, are
validated by this schema.
"""

import re
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Self

from lmladder.data import AnyCorpus, AnyTokenizer
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models import GROUPS, KINDS, rung_settings
from lmladder.sampling import SampleSettings
from lmladder.system.settings import Index, Settings

from pydantic import Field, create_model, model_validator

# The stages that fit one rung each, and the kind of that rung.
STAGES = {"bigram": "counts", "mlp": "mlp", "transformer": "transformer"}

NAME = re.compile(r"\w[\w-]*", re.ASCII)  # of a rung or a mixture


class RuntimeSettings(Settings):
    """Settings of the computation; they affect at most the last digits of results."""

    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        description="number of threads, which affects speed only; null: one per core"
    )
    kernels: Literal["numba", "numpy"] = Field(
        description="compiled kernels, or NumPy, slower; results differ in the last digits"
    )


class Config(Settings):
    """The settings of all stages."""

    seed: Index = Field(description="seed of weights, batches, dropout and samples")
    runtime: RuntimeSettings = Field(description="threads and kernels")
    data: AnyCorpus = Field(description="the text and its splits")
    tokenizer: AnyTokenizer = Field(description="the tokenizer")
    bigram: Any = Field(description="the count models")
    mlp: Any = Field(description="the MLP")
    transformer: Any = Field(description="the Transformer")
    rungs: dict[str, Any] = Field(description="additional rungs, by name")
    mixtures: dict[str, Any] = Field(description="mixtures of rungs, by name")
    rung: str | None = Field(
        description="the name in rungs or mixtures that the stage `rung` or `mixture` fits"
    )
    sample: SampleSettings = Field(description="samples of each model")
    evaluate: EvaluateSettings = Field(description="the perplexity table")
    logger: dict[str, Any] | None = Field(
        description="_target_ of a logger and its settings; null: none"
    )

    @model_validator(mode="after")
    def _distinct_models(self) -> Self:
        for group in GROUPS:
            for name in getattr(self, group):
                if not NAME.fullmatch(name):  # it is a folder, too
                    raise ValueError(f"{group}: {name!r} must consist of letters, digits, _ and -")
        rungs = {stage: getattr(self, stage) for stage in STAGES}
        for group in GROUPS:
            rungs |= {f"{group}.{name}": each for name, each in getattr(self, group).items()}
        owners = {"oracle": "the text"}
        for key, rung in rungs.items():
            own = rung.kind if key in STAGES else key.rpartition(".")[2]
            for model in getattr(rung, "models", [own]):
                if (other := owners.setdefault(model, key)) != key:
                    raise ValueError(f"{key}: {other} has a model {model!r} too")
        return self

    @property
    def text(self) -> dict[str, Any]:
        """The settings that determine the prepared text, as corpus.json records them."""
        return {
            "data": self.data.model_dump(exclude={"prompt"}),
            "tokenizer": self.tokenizer.model_dump(),
        }

    @property
    def relevant(self) -> dict[str, Any]:
        """All settings as plain values, without those that affect no result."""
        return self.model_dump(mode="json", exclude={"runtime": {"threads"}, "logger": True})


def schema() -> type[Config]:
    """Return the type of a configuration, with the kinds of rungs that are known now."""
    kinds = [rung_settings(name, watched=True) for name, kind in KINDS.items() if kind.in_rungs]
    types: dict[str, Any] = {stage: rung_settings(kind) for stage, kind in STAGES.items()}
    rung: Any = Annotated[reduce(or_, kinds), Field(discriminator="kind")]
    mixture: Any = rung_settings("mixture")
    types |= {"rungs": dict[str, rung], "mixtures": dict[str, mixture]}
    fields: Any = {name: (each, Config.model_fields[name]) for name, each in types.items()}
    return create_model("Config", __base__=Config, **fields)
