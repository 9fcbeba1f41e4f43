"""Training by gradients: the loop, and the settings of a run."""

from typing import TYPE_CHECKING

from lmladder.system.lazy import lazy_exports

if TYPE_CHECKING:
    from lmladder.training.loop import (
        UNFINISHED,
        UNFINISHED_BEST,
        TrainingRun,
        discard_unfinished,
        train,
    )
    from lmladder.training.settings import GradientSettings, TrainingSettings
else:
    __getattr__ = lazy_exports(__name__, __file__)
