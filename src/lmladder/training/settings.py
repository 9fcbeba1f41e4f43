"""The settings of a training run."""

from typing import Self

from lmladder.optim import AnyOptimizer, AnySchedule
from lmladder.system.settings import Count, Index, Settings

from pydantic import Field, model_validator


class TrainingSettings(Settings):
    """How long a run is, what a step reads, and how often the run is evaluated."""

    steps: Count = Field(description="optimizer steps; fewer where patience ends the run")
    batch_size: Count = Field(description="sequences per step, over all its micro-batches")
    gradient_accumulation_steps: Count = Field(
        description="micro-batches per step; divides batch_size, and memory with it"
    )
    sequence_length: Count = Field(description="tokens predicted in a sequence")
    clip_norm: float | None = Field(
        gt=0, description="bound of the norm of all gradients; null: none"
    )
    evaluate_every: Count = Field(description="steps between two evaluations and checkpoints")
    evaluate_tokens: Count = Field(description="validation tokens that an evaluation scores")
    monitor_every: Count | None = Field(
        description="steps between two records of gradient norms by group; null: never"
    )
    patience: Count | None = Field(
        description="evaluations without improvement after which the run ends; null: never"
    )
    min_improvement: float = Field(
        ge=0, description="nats per token by which a loss must improve to count, for patience"
    )


class GradientSettings(Settings):
    """What every rung that learns by gradients has besides its architecture."""

    optimizer: AnyOptimizer = Field(description="how parameters are updated")
    schedule: AnySchedule = Field(description="how the learning rate changes over a run")
    training: TrainingSettings = Field(description="the run")
    seed: Index | None = Field(description="seed of this rung; null: the common one")
    init_from: str | None = Field(
        description="checkpoint with the first weights; null: they are drawn"
    )

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        training = self.training
        self.schedule.check_steps(training.steps)
        if training.batch_size % training.gradient_accumulation_steps:
            raise ValueError(
                f"training.gradient_accumulation_steps={training.gradient_accumulation_steps} "
                f"does not divide training.batch_size={training.batch_size}"
            )
        if self.init_from == "":  # as conf/transformer/from_checkpoint.yaml leaves it
            raise ValueError("init_from has no value; give init_from=...")
        longest: int | None = getattr(self, "max_sequence_length", None)  # of the model
        if longest is not None and training.sequence_length > longest:
            raise ValueError(
                f"training.sequence_length={training.sequence_length} is more than "
                f"context_length={longest}"
            )
        return self
