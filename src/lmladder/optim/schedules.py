"""Learning rate schedules: a linear warm-up, then a decay of one of several shapes."""

import math

from lmladder.optim.settings import SCHEDULES, ScheduleSettings


def constant(progress: float, final_fraction: float) -> float:
    """Return 1, whatever the arguments."""
    return 1.0


def linear(progress: float, final_fraction: float) -> float:
    """Return a value on the straight line from 1 to final_fraction."""
    return 1 - (1 - final_fraction) * progress


def cosine(progress: float, final_fraction: float) -> float:
    """Return a value on half a cosine from 1 to final_fraction (Loshchilov & Hutter 2017)."""
    return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * progress)) / 2


def factor(step: int, steps: int, schedule: ScheduleSettings) -> float:
    """Return the factor of the learning rate in one step.

    It rises linearly to 1 over warmup_steps, is 1 until decay_steps are left (only in wsd there are
    such steps) and then falls to final_fraction, which it would reach after the last step: a last
    step at a rate of 0 would be wasted.

    Parameters
    ----------
    step : counted from 0
    steps : of the whole run
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    decay_steps = schedule.decay_steps(steps)
    progress = max(0, step - (steps - decay_steps)) / decay_steps
    return float(SCHEDULES.component(schedule.name)(progress, schedule.final_fraction))
