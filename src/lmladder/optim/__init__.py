"""Optimizers, learning rate schedules and gradient clipping.

An optimizer stores its parameters and running averages, but not the step: the caller of `step`
gives its number and the factors from schedule and clipping.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from lmladder.autograd import Tensor
from lmladder.optim.adam import Adam, AdamSettings, AdamW, AdamWSettings
from lmladder.optim.clipping import clip_scale, global_norm
from lmladder.optim.muon import Muon, MuonSettings, orthogonalize
from lmladder.optim.optimizer import Optimizer
from lmladder.optim.schedules import AnySchedule, Schedule
from lmladder.optim.sgd import Sgd, SgdSettings

from pydantic import Field

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": Sgd, "adam": Adam, "adamw": AdamW, "muon": Muon}
AnyOptimizer = Annotated[
    SgdSettings | AdamSettings | AdamWSettings | MuonSettings, Field(discriminator="name")
]


def build_optimizer(
    settings: Any, parameters: Mapping[str, Tensor], matrices: Collection[str]
) -> Optimizer:
    """Return the optimizer that `settings.name` names."""
    return OPTIMIZERS[settings.name](parameters, settings, matrices)
