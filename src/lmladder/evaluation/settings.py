"""The settings of the perplexity table."""

from typing import Annotated, Any, Literal, Self

from lmladder.system.settings import Count, Settings

from pydantic import Field, model_validator


class EvaluateSettings(Settings):
    """Which text is scored, with which checkpoints, and how."""

    splits: list[Literal["val", "test"]] = Field(min_length=1, description="splits that are scored")
    checkpoint: Literal["latest", "best"] = Field(description="of each trained rung")
    min_context: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="least fraction of its context that a token of a later window has"
    )
    batch_tokens: Count = Field(
        description="tokens scored at a time; changes memory, and results by rounding only"
    )
    excess_error: float = Field(
        gt=0,
        description="standard error of the excess over a known truth, in nats per token, or 1% if "
        "that is more",
    )

    @property
    def reading(self) -> dict[str, Any]:
        """How a text is read: the options of `read_tokens`."""
        return {"min_context": self.min_context, "batch_tokens": self.batch_tokens}

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.splits)) < len(self.splits):
            raise ValueError(f"splits must name val or test, each once, got {self.splits}")
        return self
