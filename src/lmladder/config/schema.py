"""The whole configuration, composed from the settings of the parts.

Its values are in `conf/`; the two entry points, Hydra for people and params.yaml for DVC, are read
with the same declarations.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from lmladder.data.settings import CORPORA, TOKENIZERS
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models.registry import KINDS
from lmladder.sampling.settings import SampleSettings
from lmladder.system.settings import setting


@dataclass
class RuntimeSettings:
    """How to compute; of the results, at most the last digits depend on it."""

    threads: int | None = setting(
        "threads; null: one a core. Changes speed only", at_least=1, at_most=1024
    )
    kernels: str = setting(
        "compiled (numba) or plain NumPy; the results differ in the last digits",
        choices=("numba", "numpy"),
    )


@dataclass
class Config:
    """Everything."""

    seed: int = setting("of weights, batches, dropout and samples", at_least=0)
    runtime: RuntimeSettings = setting("how to compute", settings=RuntimeSettings)
    data: Any = setting("which text, and how it is cut", family=CORPORA)
    tokenizer: Any = setting("how text is tokenized", family=TOKENIZERS)
    bigram: Any = setting("the count models", family=KINDS)
    mlp: Any = setting("the rung between counts and attention", family=KINDS)
    transformer: Any = setting("the Transformer", family=KINDS)
    rungs: dict[str, Any] = setting("further rungs, by name", default={}, family=KINDS)
    rung: str | None = setting("which of rungs the stage `rung` fits", default=None)
    sample: SampleSettings = setting("samples of each model", settings=SampleSettings)
    evaluate: EvaluateSettings = setting("the perplexity table", settings=EvaluateSettings)

    @property
    def text(self) -> dict[str, Any]:
        """The settings on which the prepared text depends, as corpus.json records them."""
        settings = {"data": asdict(self.data), "tokenizer": asdict(self.tokenizer)}
        del settings["data"]["prompt"]
        return settings


# The stages that fit one rung each; the others are in `rungs`.
STAGES = tuple(
    each.name
    for each in fields(Config)
    if each.metadata.get("family") is KINDS and each.name != "rungs"
)
