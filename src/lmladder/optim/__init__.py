"""Optimizers, learning rate schedules and gradient clipping.

An optimizer stores its parameters and running averages, but not the step: the caller of `step`
gives its number and the factors from schedule and clipping. An optimizer that `settings.py` does
not list is a module of its own in this package, with its settings in the same module.
"""

from typing import TYPE_CHECKING

from lmladder.system.lazy import lazy_exports

if TYPE_CHECKING:
    from lmladder.optim.adam import Adam, AdamW
    from lmladder.optim.clipping import clip_scale, global_norm
    from lmladder.optim.muon import Muon, orthogonalize
    from lmladder.optim.optimizer import Optimizer, build_optimizer
    from lmladder.optim.schedules import factor
    from lmladder.optim.settings import OPTIMIZERS, SCHEDULES
    from lmladder.optim.sgd import Sgd
else:
    __getattr__ = lazy_exports(__name__, __file__)
