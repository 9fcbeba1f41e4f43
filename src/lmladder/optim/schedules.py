"""The course of the learning rate over a run."""

import math
from collections.abc import Callable


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
}


def factor(step: int, *, name: str, steps: int, warmup_steps: int, final_fraction: float) -> float:
    """What the learning rate of one step is multiplied by.

    Parameters
    ----------
    step : counted from 0
    name : one of SCHEDULES
    steps : of the whole run
    warmup_steps : over which the factor rises linearly to 1, before the schedule begins
    final_fraction : what the factor falls to when all steps are taken; the last one is a step
        short of it, as a rate of 0 would waste it
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (steps - warmup_steps)
    return SCHEDULES[name](progress, final_fraction)
