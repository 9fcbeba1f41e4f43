"""Learning rate schedules: a linear warm-up, then a decay of one of several shapes."""

import math

from lmladder.optim.settings import SCHEDULES, ScheduleSettings


def constant(progress: float, final_fraction: float) -> float:
    """Return 1."""
    return 1.0


def linear(progress: float, final_fraction: float) -> float:
    """Return a value on the straight line from 1 to final_fraction."""
    return 1 - (1 - final_fraction) * progress


def cosine(progress: float, final_fraction: float) -> float:
    """Return a value on half a cosine from 1 to final_fraction (Loshchilov & Hutter 2017)."""
    return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * progress)) / 2


def factor(step: int, steps: int, schedule: ScheduleSettings) -> float:
    """Return the factor of the learning rate in one step.

    It rises linearly to 1 over warmup_steps, remains 1 until decay_steps are left (in wsd only) and
    then decays to final_fraction. It would reach this after the last step, because a step with a
    learning rate of 0 would have no effect.

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
