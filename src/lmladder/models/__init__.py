"""The rungs: count models, the MLP and the Transformer, all under one contract (contract.py)."""

from collections.abc import Callable
from typing import Any

from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.errors import InputError
from lmladder.models.contract import LanguageModel
from lmladder.models.mlp import Mlp
from lmladder.models.neural import NeuralLanguageModel
from lmladder.models.transformer import Transformer
from lmladder.nn import ACTIVATIONS

import numpy as np

ARCHITECTURES: dict[str, tuple[type[Any], Callable[..., NeuralLanguageModel]]] = {
    "mlp": (MlpArchitecture, Mlp),
    "transformer": (TransformerArchitecture, Transformer),
}


def build_neural(
    architecture: MlpArchitecture | TransformerArchitecture,
    vocabulary_size: int,
    *,
    rng: np.random.Generator,
) -> NeuralLanguageModel:
    """A new model of the kind that the architecture describes, its weights drawn from `rng`."""
    if architecture.activation not in ACTIVATIONS:
        raise InputError(
            f"unknown activation {architecture.activation!r}; choose from {sorted(ACTIVATIONS)}"
        )
    for schema, model in ARCHITECTURES.values():
        if isinstance(architecture, schema):
            return model(architecture, vocabulary_size, rng=rng)
    raise TypeError(f"no model for {type(architecture).__name__}")
