"""Learning rate schedules: a linear warm-up, then a decay of one of several shapes."""

import math
from typing import Annotated, Any, Literal

from lmladder.system.settings import Fraction, Index, Settings

from pydantic import Field

SHAPE: Any = Field(description="the shape of the decay")


class Schedule(Settings):
    """A warm-up over warmup_steps, then a decay to final_fraction of the learning rate."""

    name: str
    warmup_steps: Index = Field(description="steps over which the learning rate rises")
    final_fraction: Fraction = Field(description="of the learning rate, at the end")

    def factor(self, step: int, steps: int) -> float:
        """Return the factor of the learning rate in one step.

        It rises linearly to 1 over warmup_steps, remains 1 until `decay_steps` are left and then
        decays to final_fraction. It would reach this after the last step, because a step with a
        learning rate of 0 would have no effect.

        Parameters
        ----------
        step : counted from 0
        steps : of the whole run
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        decay_steps = self.decay_steps(steps)
        return self.decayed(max(0, step - (steps - decay_steps)) / decay_steps)

    def decay_steps(self, steps: int) -> int:
        """Return over how many of a run's `steps` the learning rate decays; at least one."""
        return steps - self.warmup_steps

    def decayed(self, progress: float) -> float:
        """Return the factor at a progress of the decay from 0 to 1: by default, a straight line."""
        return 1 - (1 - self.final_fraction) * progress

    def check_steps(self, steps: int) -> None:
        """Raise ValueError if the schedule is longer than a run of `steps`."""
        if self.warmup_steps >= steps:
            raise ValueError(
                f"schedule.warmup_steps={self.warmup_steps} must be less than "
                f"training.steps={steps}"
            )


class Constant(Schedule):
    """A constant learning rate after the warm-up."""

    name: Literal["constant"] = SHAPE

    def decayed(self, progress: float) -> float:
        return 1.0


class Linear(Schedule):
    """A straight line from 1 to final_fraction."""

    name: Literal["linear"] = SHAPE


class Cosine(Schedule):
    """Half a cosine from 1 to final_fraction (Loshchilov & Hutter 2017)."""

    name: Literal["cosine"] = SHAPE

    def decayed(self, progress: float) -> float:
        height = 1 - self.final_fraction
        return self.final_fraction + height * (1 + math.cos(math.pi * progress)) / 2


class Wsd(Schedule):
    """Warm-up, stable, decay on a straight line (Hu et al. 2024)."""

    name: Literal["wsd"] = SHAPE
    decay_fraction: float = Field(
        gt=0, le=1, description="fraction of all steps over which the rate decays"
    )

    def decay_steps(self, steps: int) -> int:
        return max(1, round(self.decay_fraction * steps))

    def check_steps(self, steps: int) -> None:
        super().check_steps(steps)
        if self.warmup_steps + self.decay_steps(steps) > steps:
            raise ValueError(
                f"schedule.warmup_steps={self.warmup_steps} and "
                f"schedule.decay_fraction={self.decay_fraction} are together more than "
                f"training.steps={steps}"
            )


AnySchedule = Annotated[Constant | Linear | Cosine | Wsd, Field(discriminator="name")]
