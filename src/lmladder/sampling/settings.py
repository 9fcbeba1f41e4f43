"""The settings of the samples that `evaluate` writes."""

from dataclasses import dataclass

from lmladder.system.errors import InputError
from lmladder.system.settings import setting


@dataclass
class StrategySettings:
    """How the next token is drawn; the defaults are the probabilities of the model."""

    temperature: float = setting(
        "below 1 is more conservative; 0: always the most likely token", default=1.0, at_least=0
    )
    top_k: int | None = setting(
        "only the k most likely tokens; null: all", default=None, at_least=1
    )
    top_p: float = setting(
        "only the most likely tokens with this total probability", default=1.0, above=0, at_most=1
    )
    min_p: float = setting(
        "least probability, as a fraction of the greatest", default=0.0, at_least=0, at_most=1
    )
    repetition_penalty: float = setting("above 1 avoids repetition", default=1.0, above=0)


@dataclass
class SampleSettings(StrategySettings):
    """How each model continues a prompt."""

    prompt: str | None = setting("text to continue; null: the beginning of a document")
    tokens: int = setting("tokens of a sample at most", at_least=1)
    beams: int | None = setting(
        "width of a beam search, which uses none of the settings above; null: draw", at_least=1
    )
    samples: int = setting("samples of each model", at_least=1)
    stop: list[str] = setting("texts before which a sample ends")

    def check(self, path: str) -> None:
        if "" in self.stop:
            raise InputError(f"{path}stop has an empty text; give at least one character")
        if self.prompt == "":
            raise InputError(f"{path}prompt is empty; give at least one token to continue, or null")
        if self.beams is not None and self.samples > self.beams:
            raise InputError(
                f"{path}samples={self.samples} must be at most {path}beams={self.beams}"
            )
