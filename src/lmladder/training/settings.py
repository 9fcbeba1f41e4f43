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
    ema: float | None = setting(
        "decay of an average of the weights, which the run ends with; null: none",
        default=None,
        above=0,
        below=1,
    )
    sequence_warmup: list[int] = setting(
        "sequence lengths of the first steps, 30% of all steps each; as many tokens a step",
        default=[],
        at_least=1,
    )
    batch_ramp: bool = setting(
        "half the batch in the first half of the steps, one and a half in the second", default=False
    )

    def batch_shape(self, step: int) -> tuple[int, int]:
        """Return the number of sequences of a step, counted from 0, and their length."""
        stage = int(step / (0.3 * self.steps))
        early = stage < len(self.sequence_warmup)
        length = self.sequence_warmup[stage] if early else self.sequence_length
        size, change = self.batch_size, self.batch_size // 2 if self.batch_ramp else 0
        size += -change if step < self.steps // 2 else change
        return size * self.sequence_length // length, length

    def tokens(self, steps: int) -> int:
        """Return the number of tokens predicted in the first steps."""
        change, early = self.batch_size // 2 if self.batch_ramp else 0, self.steps // 2
        change *= max(0, steps - early) - min(steps, early)
        return (steps * self.batch_size + change) * self.sequence_length


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
        if training.ema is not None and training.patience is not None:
            raise InputError(f"{path}training.ema={training.ema} requires patience=null")
        if training.batch_ramp and training.batch_size % (2 * training.gradient_accumulation_steps):
            raise InputError(
                f"{path}training.batch_ramp=true: twice gradient_accumulation_steps must divide "
                f"{path}training.batch_size={training.batch_size}"
            )
        for length in training.sequence_warmup:
            if training.sequence_length % length:
                raise InputError(
                    f"{path}training.sequence_warmup: {length} does not divide "
                    f"{path}training.sequence_length={training.sequence_length}"
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
