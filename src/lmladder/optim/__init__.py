"""Optimizers, schedules and clipping.

An optimizer knows its parameters and running means, not its step: whoever calls `step` says which
it is, and by what factor a schedule and clipping scale it.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from lmladder.autograd import Tensor
from lmladder.config import OPTIMIZER_SETTINGS, OptimizerConfig
from lmladder.errors import InputError
from lmladder.optim.adam import Adam, AdamW
from lmladder.optim.clipping import clip_scale, global_norm
from lmladder.optim.muon import Muon, orthogonalise
from lmladder.optim.schedules import SCHEDULES, factor
from lmladder.optim.sgd import Sgd

Optimizer: TypeAlias = Adam | Muon | Sgd

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": Sgd,
    "adam": Adam,
    "adamw": AdamW,
    "muon": Muon,
}


def build_optimizer(
    config: OptimizerConfig, parameters: Mapping[str, Tensor], matrices: Collection[str]
) -> Optimizer:
    """The optimizer that `config` names; `matrices` are the names that Muon would take.

    Raises
    ------
    InputError
        If the name is unknown, or a setting that this optimizer needs is null.
    """
    if config.name not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {config.name!r}; choose from {sorted(OPTIMIZERS)}")
    optimizer = OPTIMIZERS[config.name]
    settings = {name: getattr(config, name) for name in OPTIMIZER_SETTINGS[config.name]}
    if missing := [name for name, value in settings.items() if value is None]:
        raise InputError(f"optimizer {config.name} needs {missing[0]}")
    if optimizer is Muon:
        settings["matrices"] = matrices
    return optimizer(parameters, **settings)
