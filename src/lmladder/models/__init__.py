"""The rungs: count models, the MLP and the Transformer.

All are under one contract (contract.py). `registry.py` lists the kinds, `settings.py` has the
settings of each.
"""

from typing import TYPE_CHECKING

from lmladder.system.lazy import lazy_exports

if TYPE_CHECKING:
    from lmladder.models.contract import LanguageModel
    from lmladder.models.neural import NeuralLanguageModel
    from lmladder.models.registry import KINDS, label
    from lmladder.models.settings import (
        CountSettings,
        MlpSettings,
        TransformerSettings,
    )
else:
    __getattr__ = lazy_exports(__name__, __file__)
