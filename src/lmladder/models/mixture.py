"""Mixtures of models: p = sum_i w_i p_i, with weights w that depend on what precedes a token.

A sum of distributions with weights that sum to 1 is a distribution, so nothing is normalized. The
weights depend on how certain members are: on the entropies of their distributions of the next
token. For each of the members in `weights_by`, some entropies are knots. A table of weights has a
row for each combination of knots, and between knots the weights are interpolated linearly. So a
rounding error of an entropy changes a probability by a rounding error only, unlike with bins.

The tables are fitted with expectation maximization: the combination of knots and the member that a
token comes from are latent, and the interpolation gives the probability of the former.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmladder.models.contract import LanguageModel, own_tokenizer
from lmladder.models.decoding import Decoder
from lmladder.models.registry import KINDS
from lmladder.models.settings import MEMBERS, MixtureSettings
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.settings import import_object

import numpy as np

WEIGHTS = "weights"  # how their names in a checkpoint begin
WEIGHTS_FILE = "weights.json"  # has those fitted on the whole validation text, for another mixture
NAMES = ("members", "weights_by")  # settings that two mixtures with the same weights share
# The texts that weights are fitted on: for use elsewhere, and for each half of the validation text.
TEXTS = ("whole", "for_first_half", "for_second_half")


@dataclass(frozen=True)
class Weights:
    """The weights of the members of a mixture, as a function of entropies.

    Attributes
    ----------
    knots : (features, knots), ascending entropies in nats
    table : (knots ** features, members), at least 0; each row sums to 1
    """

    knots: FloatArray
    table: FloatArray

    @classmethod
    def even(cls, n_members: int, n_knots: int) -> "Weights":
        """Return equal weights, which depend on no entropy."""
        return cls(np.empty((0, n_knots)), np.full((1, n_members), 1 / n_members))

    @classmethod
    def fitted(
        cls, logs: FloatArray, entropies: FloatArray, settings: MixtureSettings
    ) -> "Weights":
        """Return weights that make a text probable; the knots are quantiles of its entropies.

        Every row of the table is drawn toward the best weights that depend on nothing, as if it had
        `settings.prior` tokens more that are distributed over members by these weights.

        Parameters
        ----------
        logs : log probability of each token by member, (tokens, members)
        entropies : before each token, (tokens, features)

        Raises
        ------
        InputError
            If each token has probability 0 under all members.
        """
        possible = logs.max(axis=1) > -np.inf  # under a member, and so under the mixture
        if not possible.any():
            raise InputError("no member gives any token of the text a probability above 0")
        logs, entropies = logs[possible], entropies[possible]
        quantiles = np.linspace(0, 1, settings.knots)
        knots = np.quantile(entropies, quantiles, axis=0).T
        # Relative to the most probable member, as a probability may underflow.
        relative = np.exp(logs - logs.max(axis=1, keepdims=True))
        even = cls.even(logs.shape[1], settings.knots)
        constant = even._maximized(relative, entropies[:, :0], 0.0, settings.iterations)
        start = np.repeat(constant.table, settings.knots ** len(knots), axis=0)
        return cls(knots, start)._maximized(
            relative, entropies, settings.prior * constant.table, settings.iterations
        )

    def _maximized(
        self, probabilities: FloatArray, entropies: FloatArray, prior: Any, iterations: int
    ) -> "Weights":
        """Return the weights after iterations of expectation maximization."""
        rows, shares = self._interpolated(entropies)
        table = self.table
        for _ in range(iterations):
            # How likely a row and a member are for each token: (tokens, rows of it, members).
            joint = shares[..., None] * table[rows] * probabilities[:, None]
            joint /= joint.sum(axis=(1, 2), keepdims=True)
            by_member = np.moveaxis(joint, -1, 0).reshape(table.shape[1], -1)
            counts = [np.bincount(rows.ravel(), each, len(table)) for each in by_member]
            table = np.stack(counts, axis=1) + prior
            table /= table.sum(axis=1, keepdims=True)
        return Weights(self.knots, table)

    def _interpolated(self, entropies: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the rows between which each token lies, and their shares, which sum to 1.

        Shapes: (..., features) -> (..., 2 ** features) twice.
        """
        n_knots = self.knots.shape[1]
        rows = np.zeros((*entropies.shape[:-1], 1), np.int64)
        shares = np.ones(rows.shape)
        for knots, entropy in zip(self.knots, np.moveaxis(entropies, -1, 0), strict=True):
            position = np.interp(entropy, knots, np.arange(n_knots))[..., None]
            below = np.minimum(position.astype(np.int64), n_knots - 2)
            upper = position - below
            rows = np.concatenate([rows * n_knots + below, rows * n_knots + below + 1], axis=-1)
            shares = np.concatenate([shares * (1 - upper), shares * upper], axis=-1)
        return rows, shares

    def facts(self, settings: MixtureSettings) -> dict[str, Any]:
        """Return the content of `WEIGHTS_FILE`: the weights, and what they belong to."""
        names = {key: getattr(settings, key) for key in NAMES}
        return {**names, **{key: each.tolist() for key, each in vars(self).items()}}

    @classmethod
    def load(cls, path: Path, settings: MixtureSettings) -> "Weights":
        """Invert `facts`; raise InputError if the file has no weights of such a mixture."""
        try:
            facts = json.loads(path.read_bytes())
            for key in NAMES:
                if facts[key] != getattr(settings, key):
                    raise ValueError(f"its {key} are {facts[key]}")
            shape = len(settings.weights_by), settings.knots  # no knots are []
            knots = np.array(facts["knots"], np.float64).reshape(shape)
            table = np.array(facts["table"], np.float64)
            rows, members = settings.knots ** shape[0], len(settings.members)
            sums = abs(table.sum(axis=1) - 1)
            if table.shape != (rows, members) or not ((sums < 1e-9).all() and (table >= 0).all()):
                raise ValueError(f"its table is not {rows} times weights of {members} members")
            if not (np.diff(knots) >= 0).all():
                raise ValueError("its knots do not ascend")
            return cls(knots, table)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, TypeError, LookupError) as error:
            raise InputError(f"{path} does not fit this mixture: {error}") from None

    def __call__(self, entropies: FloatArray) -> FloatArray:
        """Return the weights of the members: (..., features) -> (..., members)."""
        rows, shares = self._interpolated(entropies)
        weights: FloatArray = np.einsum("...r,...rm->...m", shares, self.table[rows])
        return weights


class Mixture:
    """A mixture of models with one vocabulary; the attributes are those of `LanguageModel`.

    Parameters
    ----------
    members : the models
    features : the indices of the members whose entropies determine the weights
    weights : of the members
    cross_fitted : see `CrossFitted`; empty if there is no such text
    """

    def __init__(
        self,
        members: Sequence[LanguageModel],
        features: Sequence[int],
        weights: Weights,
        cross_fitted: Sequence["Mixture"] = (),
    ) -> None:
        self.members, self.weights = members, weights
        self.cross_fitted = cross_fitted
        self._features = features
        self.vocabulary_size = members[0].vocabulary_size
        self.n_parameters = sum(each.n_parameters for each in members)
        limits = [each.max_length for each in members if each.max_length is not None]
        self.max_length = min(limits, default=None)
        longest = max(each.context_length for each in members)
        self.context_length = min(longest, self.max_length or longest)

    def observe(self, tokens: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the log probability of each token but the first, and the entropies before it.

        Parameters
        ----------
        tokens : (sequences, length)

        Returns
        -------
        logs : by member, (sequences, length - 1, members)
        entropies : in nats, (sequences, length - 1, features)
        """
        logs: dict[int, FloatArray] = {}
        entropies: dict[int, FloatArray] = {}
        for index, member in enumerate(self.members):
            if index in self._features:
                whole = member.log_probabilities(tokens[:, :-1])
                logs[index] = np.take_along_axis(whole, tokens[:, 1:, None], -1)[..., 0]
                entropies[index] = entropy(whole)
            else:
                logs[index] = -member.nll(tokens)
        chosen = [entropies[index] for index in self._features]
        shape = (*tokens[:, 1:].shape, 0)
        return np.stack([*logs.values()], axis=-1), np.stack(chosen, -1) if chosen else np.empty(
            shape
        )

    def nll(self, tokens: IntArray) -> FloatArray:
        logs, entropies = self.observe(tokens)
        with np.errstate(divide="ignore"):  # a weight may be 0
            logs += np.log(self.weights(entropies))
        # A probability may be rounded to more than 1, and -log(1) is -0.0.
        nats: FloatArray = np.maximum(-np.logaddexp.reduce(logs, axis=-1), 0.0) + 0.0
        return nats

    def mixed(self, logs: Sequence[FloatArray]) -> FloatArray:
        """Return the log probabilities of the mixture from those of its members, all (..., V)."""
        by = [entropy(logs[index]) for index in self._features]
        weights = self.weights(np.stack(by, -1) if by else np.empty((*logs[0].shape[:-1], 0)))
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights)
        found = logs[0] + log_weights[..., :1]
        for index, each in enumerate(logs[1:], 1):
            np.logaddexp(found, each + log_weights[..., index, None], out=found)
        return found

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        return self.mixed([each.next_log_probabilities(tokens) for each in self.members])

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        return self.mixed([each.log_probabilities(tokens) for each in self.members])

    def decoder(self) -> "MixtureDecoder":
        return MixtureDecoder(self)


class MixtureDecoder(Decoder):
    """The decoders of all members, each of which reads as long a context as it can."""

    def __init__(self, mixture: Mixture):
        super().__init__(mixture)
        self._mixture = mixture
        self._decoders = [each.decoder() for each in mixture.members]

    def read(self, tokens: IntArray) -> FloatArray:
        self._append(tokens)
        return self._mixture.mixed([each.read(tokens) for each in self._decoders])

    def select(self, sequences: Sequence[int]) -> None:
        super().select(sequences)
        for each in self._decoders:
            each.select(sequences)


def entropy(logs: FloatArray) -> FloatArray:
    """Return the entropy of distributions in nats: (..., vocabulary) -> (...)."""
    finite = np.maximum(logs, np.finfo(np.float64).min)  # 0 log 0 = 0
    values: FloatArray = -np.einsum("...v,...v->...", np.exp(logs), finite)
    return values


def restore(
    kind: str,
    settings: MixtureSettings,
    vocabulary_size: int,
    arrays: Mapping[str, Array],
    name: str,
) -> dict[str, Mixture]:
    """Return the mixture of a checkpoint, by its name.

    Raises
    ------
    ValueError
        If the arrays are not those of such a mixture.
    """
    members, features = open_members(settings, vocabulary_size, arrays)
    fitted = [Weights(**below(arrays, f"{WEIGHTS}.{text}")) for text in texts_of(settings)]
    whole, *parts = [Mixture(members, features, weights) for weights in fitted]
    return {name: Mixture(members, features, whole.weights, parts)}


def texts_of(settings: MixtureSettings) -> tuple[str, ...]:
    """Return the names of the sets of weights: of `TEXTS`, or one if they are given."""
    return TEXTS if settings.weights_from is None else TEXTS[:1]


def open_members(
    settings: MixtureSettings, vocabulary_size: int, arrays: Mapping[str, Array]
) -> tuple[list[LanguageModel], list[int]]:
    """Return the members in the arrays of a checkpoint, and the indices of those in weights_by.

    Raises
    ------
    ValueError
        If the arrays are not those of the members.
    InputError
        If a member has tokens of its own.
    """
    models: dict[str, LanguageModel] = {}
    for rung, its in settings.rungs.items():
        restore_rung = import_object(KINDS[its.kind].fit.restore)
        own = below(arrays, f"{MEMBERS}.{rung}")
        models |= restore_rung(its.kind, its, vocabulary_size, own, rung)
    if missing := [member for member in settings.members if member not in models]:
        raise ValueError(f"the model {missing[0]!r} is missing")
    if others := [each for each in settings.members if own_tokenizer(models[each])]:
        raise InputError(
            f"members: {others[0]} has tokens of its own; the members of a mixture share them"
        )
    members = [models[member] for member in settings.members]
    return members, [settings.members.index(each) for each in settings.weights_by]


def below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Return the arrays whose names begin with a prefix and a dot, without these."""
    start = f"{prefix}."
    return {k.removeprefix(start): each for k, each in arrays.items() if k.startswith(start)}
