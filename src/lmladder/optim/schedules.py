"""The course of the learning rate over a run."""

import math
from collections.abc import Callable

from lmladder.config import ScheduleConfig


def constant(_: float, __: float) -> float:
    """1 all the way."""
    return 1.0


def linear(progress: float, final_fraction: float) -> float:
    """A straight line from 1 to final_fraction."""
    return 1 - (1 - final_fraction) * progress


def cosine(progress: float, final_fraction: float) -> float:
    """Half a cosine from 1 to final_fraction (Loshchilov & Hutter 2017)."""
    return final_fraction + (1 - final_fraction) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "wsd": linear,  # warm-up, stable, decay (Hu et al. 2024): `factor` lets the decay begin late
}


def factor(step: int, steps: int, schedule: ScheduleConfig) -> float:
    """What the learning rate of one step is multiplied by.

    It rises linearly to 1 over warmup_steps, stays there until decay_steps are left (only wsd keeps
    it waiting) and then falls to final_fraction, which it would reach when all steps are taken: the
    last one is a step short of it, as a rate of 0 would waste it.

    Parameters
    ----------
    step : counted from 0
    steps : of the whole run
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    decay_steps = schedule.decay_steps(steps)
    progress = max(0, step - (steps - decay_steps)) / decay_steps
    return SCHEDULES[schedule.name](progress, schedule.final_fraction)
