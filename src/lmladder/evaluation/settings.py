"""The settings of the perplexity table."""

from dataclasses import dataclass

from lmladder.system.errors import InputError
from lmladder.system.settings import setting


@dataclass
class EvaluateSettings:
    """Which text is scored, with which checkpoints, and how."""

    splits: list[str] = setting("splits that are scored", choices=("val", "test"))
    checkpoint: str = setting("of each trained rung", choices=("latest", "best"))
    min_context: float = setting(
        "least fraction of its context that a token of a later window has", at_least=0, below=1
    )
    batch_tokens: int = setting(
        "tokens scored at a time; changes memory, and results by rounding only", at_least=1
    )
    excess_error: float = setting(
        "standard error of the excess over a known truth, in nats per token, or 1% if that is more",
        default=0.001,
        above=0,
    )

    def check(self, path: str) -> None:
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise InputError(f"{path}splits must name val or test, each once, got {self.splits}")
