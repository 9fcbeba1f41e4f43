"""The settings of the optimizers, and of the learning rate schedules."""

from dataclasses import dataclass
from typing import ClassVar

from lmladder.system.errors import InputError
from lmladder.system.settings import Component, Family, setting

HERE = "lmladder.optim"
OPTIMIZERS = Family(
    "optimizer",
    HERE,
    {
        "sgd": Component(f"{HERE}.settings:SgdSettings", f"{HERE}.sgd:Sgd"),
        "adam": Component(f"{HERE}.settings:AdamSettings", f"{HERE}.adam:Adam"),
        "adamw": Component(f"{HERE}.settings:AdamWSettings", f"{HERE}.adam:AdamW"),
        "muon": Component(f"{HERE}.settings:MuonSettings", f"{HERE}.muon:Muon"),
    },
)
SCHEDULES = Family(
    "schedule",
    HERE,
    {
        "constant": Component(f"{HERE}.settings:ScheduleSettings", f"{HERE}.schedules:constant"),
        "linear": Component(f"{HERE}.settings:ScheduleSettings", f"{HERE}.schedules:linear"),
        "cosine": Component(f"{HERE}.settings:ScheduleSettings", f"{HERE}.schedules:cosine"),
        "wsd": Component(f"{HERE}.settings:WsdSettings", f"{HERE}.schedules:linear"),
    },
)


@dataclass
class SgdSettings:
    """Stochastic gradient descent with momentum (Sutskever et al. 2013)."""

    name: str = setting("the optimizer")
    learning_rate: float = setting("step size where the schedule's factor is 1", above=0)
    momentum: float = setting("decay of the sum of gradients; 0: none", at_least=0, below=1)
    nesterov: bool = setting("Nesterov momentum: the gradient at the point ahead")
    weight_decay: float = setting("decay of matrices, per step times learning_rate", at_least=0)

    state_arrays: ClassVar[int] = 1  # for each parameter, at least


@dataclass
class AdamSettings:
    """Adam (Kingma & Ba 2015)."""

    name: str = setting("the optimizer")
    learning_rate: float = setting("step size where the schedule's factor is 1", above=0)
    betas: tuple[float, float] = setting(
        "decay of the averages of gradients and their squares", at_least=0, below=1, length=2
    )
    epsilon: float = setting("added to the square root of the second average", above=0)

    state_arrays: ClassVar[int] = 2


@dataclass
class AdamWSettings(AdamSettings):
    """AdamW (Loshchilov & Hutter 2019)."""

    weight_decay: float = setting("decay of matrices, per step times learning_rate", at_least=0)


@dataclass
class MuonSettings(AdamWSettings):
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for all other parameters."""

    matrix_learning_rate: float = setting("Muon's step size; learning_rate is AdamW's", above=0)
    momentum: float = setting("decay of Muon's sum of gradients", at_least=0, below=1)

    state_arrays: ClassVar[int] = 1


@dataclass
class ScheduleSettings:
    """A warm-up over warmup_steps, then a decay to final_fraction of the learning rate."""

    name: str = setting("the shape of the decay")
    warmup_steps: int = setting("steps over which the learning rate rises", at_least=0)
    final_fraction: float = setting("of the learning rate, at the end", at_least=0, at_most=1)

    def decay_steps(self, steps: int) -> int:
        """Return over how many of a run's `steps` the learning rate decays; at least one."""
        return steps - self.warmup_steps

    def check_steps(self, path: str, steps: int) -> None:
        """Raise InputError if the schedule is longer than a run of `steps`."""
        if self.warmup_steps >= steps:
            raise InputError(
                f"{path}schedule.warmup_steps={self.warmup_steps} must be less than "
                f"{path}training.steps={steps}"
            )


@dataclass
class WsdSettings(ScheduleSettings):
    """Warm-up, stable, decay (Hu et al. 2024)."""

    decay_fraction: float = setting(
        "fraction of all steps over which the rate decays", above=0, at_most=1
    )

    def decay_steps(self, steps: int) -> int:
        return max(1, round(self.decay_fraction * steps))

    def check_steps(self, path: str, steps: int) -> None:
        super().check_steps(path, steps)
        if self.warmup_steps + self.decay_steps(steps) > steps:
            raise InputError(
                f"{path}schedule.warmup_steps={self.warmup_steps} and "
                f"{path}schedule.decay_fraction={self.decay_fraction} are together more than "
                f"{path}training.steps={steps}"
            )
