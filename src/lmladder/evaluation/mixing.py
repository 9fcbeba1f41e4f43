"""Fitting the weights of a mixture on the validation text, without scoring it by its own weights.

Weights of another mixture, which `weights_from` names, are used for all text. Otherwise, three
sets of weights are fitted: on the whole validation text, for all other text, and on each half
alone, for the other half. The halves are read apart from each other, and the first tokens of each
serve as context only. So nothing of a half affects the weights with which it is scored.
"""

from dataclasses import replace
from pathlib import Path

from lmladder.data import Prepared
from lmladder.evaluation.exact import read_tokens
from lmladder.models.mixture import WEIGHTS, Mixture, Weights, open_members, texts_of
from lmladder.models.settings import MEMBERS, MixtureSettings
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint

import numpy as np

MIN_TOKENS = 4  # of a validation text: one of context and one to fit on in each half


def mix(origin: Checkpoint, settings: MixtureSettings, prepared: Prepared) -> Checkpoint:
    """Return `origin`, which contains the arrays of the members, with weights.

    Raises
    ------
    InputError
        If the validation text is too short, or a file has no weights of this mixture.
    """
    arrays: dict[str, Array] = {
        name: each for name, each in origin.model.items() if name.startswith(f"{MEMBERS}.")
    }
    if settings.weights_from is not None:
        weights = [Weights.load(Path(settings.weights_from), settings)]
    else:
        weights = _fitted(origin, settings, prepared)
    for text, each in zip(texts_of(settings), weights, strict=True):
        arrays |= {f"{WEIGHTS}.{text}.{name}": array for name, array in vars(each).items()}
    return replace(origin, model=arrays)


def _fitted(origin: Checkpoint, settings: MixtureSettings, prepared: Prepared) -> list[Weights]:
    """Return the weights fitted on the whole text, on its second half and on its first half."""
    if (count := len(prepared.val)) < MIN_TOKENS:
        raise InputError(f"a mixture needs {MIN_TOKENS} tokens of validation text, got {count}")
    members, features = open_members(settings, origin.vocabulary_size, origin.model)
    unfitted = Mixture(members, features, Weights.even(len(members), settings.knots))
    first, second = (
        _observed(unfitted, half, settings) for half in np.split(prepared.val, [count // 2])
    )
    return [
        Weights.fitted(seen[:, : len(members)], seen[:, len(members) :], settings)
        for seen in (np.concatenate([first, second]), second, first)
    ]


def _observed(mixture: Mixture, text: IntArray, settings: MixtureSettings) -> FloatArray:
    """Return what `Mixture.observe` returns of the tokens after the first ones, side by side."""
    lead = min(max(1, mixture.context_length), len(text) // 2)
    return read_tokens(
        mixture,
        lambda tokens: np.concatenate(mixture.observe(tokens), axis=-1),
        text[lead:],
        text[:lead],
        min_context=settings.min_context,
        batch_tokens=settings.batch_tokens,
    )
