"""The rungs: count models, the MLP or a recurrent network, and the Transformer.

All are under one contract (contract.py).
"""

from collections.abc import Callable
from typing import Any

from lmladder.config import MlpArchitecture, TransformerArchitecture, validate_architecture
from lmladder.models.contract import LanguageModel
from lmladder.models.mlp import Mlp
from lmladder.models.neural import NeuralLanguageModel
from lmladder.models.recurrent import Recurrent
from lmladder.models.transformer import Transformer

import numpy as np

NETWORKS: dict[str, Callable[..., NeuralLanguageModel]] = {
    "mlp": Mlp,
    "rnn": Recurrent,
    "gru": Recurrent,
}


def _network(
    architecture: MlpArchitecture, vocabulary_size: int, *, rng: np.random.Generator
) -> NeuralLanguageModel:
    return NETWORKS[architecture.network](architecture, vocabulary_size, rng=rng)


ARCHITECTURES: dict[str, tuple[type[Any], Callable[..., NeuralLanguageModel]]] = {
    "mlp": (MlpArchitecture, _network),
    "transformer": (TransformerArchitecture, Transformer),
}


def build_neural(
    architecture: MlpArchitecture | TransformerArchitecture,
    vocabulary_size: int,
    *,
    rng: np.random.Generator,
) -> NeuralLanguageModel:
    """A new model of the kind that the architecture describes, its weights drawn from `rng`.

    Raises
    ------
    InputError
        If the architecture names something unknown, or choices that do not fit each other.
    """
    validate_architecture(architecture)
    for schema, model in ARCHITECTURES.values():
        if isinstance(architecture, schema):
            return model(architecture, vocabulary_size, rng=rng)
    raise TypeError(f"no model for {type(architecture).__name__}")
