"""The rungs: count models, the MLP, the Transformer, mixtures, the oracle, kinds of one's own.

All models are under one contract (contract.py), all kinds of rungs under another (kind.py), each
with its settings beside it. `registry.py` lists the built-in kinds, `own.py` loads others.
"""

from lmladder.models.contract import Decoder, LanguageModel
from lmladder.models.kind import GROUPS, KINDS, Kind, rung_settings
from lmladder.models.neural import NeuralLanguageModel
from lmladder.models.own import FittedAtOnce, load_files, load_watched
from lmladder.models.registry import kind_named, label, restore_models
