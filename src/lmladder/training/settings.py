"""The settings of a training run."""

from dataclasses import dataclass
from typing import Any

from lmladder.optim.settings import OPTIMIZERS, SCHEDULES
from lmladder.system.errors import InputError
from lmladder.system.settings import setting


@dataclass
class TrainingSettings:
    """How long a run is, what a step reads, and how often the run is evaluated."""

    steps: int = setting("optimizer steps; fewer where patience ends the run", at_least=1)
    batch_size: int = setting("sequences per step, over all its micro-batches", at_least=1)
    gradient_accumulation_steps: int = setting(
        "micro-batches per step; divides batch_size, and memory with it", at_least=1
    )
    sequence_length: int = setting("tokens predicted in a sequence", at_least=1)
    clip_norm: float | None = setting("bound of the norm of all gradients; null: none", above=0)
    evaluate_every: int = setting("steps between two evaluations and checkpoints", at_least=1)
    evaluate_tokens: int = setting("validation tokens that an evaluation scores", at_least=1)
    monitor_every: int | None = setting(
        "steps between two records of gradient norms by group; null: never", at_least=1
    )
    patience: int | None = setting(
        "evaluations without improvement after which the run ends; null: never", at_least=1
    )
    min_improvement: float = setting(
        "nats per token by which a loss must improve to count, for patience", at_least=0
    )


@dataclass
class GradientSettings:
    """What every rung that learns by gradients has besides its architecture."""

    optimizer: Any = setting("how parameters are updated", family=OPTIMIZERS)
    schedule: Any = setting("how the learning rate changes over a run", family=SCHEDULES)
    training: TrainingSettings = setting("the run", settings=TrainingSettings)
    seed: int | None = setting("seed of this rung; null: the common one", default=None, at_least=0)
    init_from: str | None = setting("checkpoint with the first weights; null: they are drawn")

    def check(self, path: str) -> None:
        training = self.training
        self.schedule.check_steps(path, training.steps)
        if training.batch_size % training.gradient_accumulation_steps:
            raise InputError(
                f"{path}training.gradient_accumulation_steps="
                f"{training.gradient_accumulation_steps} does not divide "
                f"{path}training.batch_size={training.batch_size}"
            )
        if self.init_from == "":  # as conf/transformer/from_checkpoint.yaml leaves it
            raise InputError(f"{path}init_from has no value; give {path}init_from=...")
        watch = getattr(self, "watch", self.init_from)
        if self.init_from not in (None, watch):
            raise InputError(
                f"{path}init_from={self.init_from}, but {path}watch={watch}; "
                f"give {path}watch={self.init_from}"
            )
        longest: int | None = getattr(self, "max_sequence_length", None)
        if longest is not None and training.sequence_length > longest:
            raise InputError(
                f"{path}training.sequence_length={training.sequence_length} is more than "
                f"{path}context_length={longest}"
            )
