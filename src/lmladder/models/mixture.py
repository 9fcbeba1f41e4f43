"""Mixtures of models: p = sum_i w_i p_i, with weights w that depend on what precedes a token.

A sum of distributions with weights that sum to 1 is a distribution, so nothing is normalized. The
weights depend on how certain members are: on the entropies of their distributions of the next
token. For each of the members in `weights_by`, some entropies are knots. A table of weights has a
row for each combination of knots, and between knots the weights are interpolated linearly. So a
rounding error of an entropy changes a probability by a rounding error only, unlike with bins.

The tables are fitted with expectation maximization: the combination of knots and the member that a
token comes from are latent, and the interpolation gives the probability of the former.

Weights of another mixture, which `weights_from` names, are used for all text. Otherwise, three
sets of weights are fitted: on the whole validation text, for all other text, and on each half
alone, for the other half. The halves are read apart from each other, and the first tokens of each
serve as context only. So nothing of a half affects the weights with which it is scored.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from lmladder.data import Prepared
from lmladder.data.reading import read_json
from lmladder.models.contract import Decoder, LanguageModel, own_tokenizer
from lmladder.models.kind import GREEN, Kind, Log, no_log, restore
from lmladder.models.windows import read_tokens
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.files import write_json
from lmladder.system.settings import Count, Settings
from lmladder.training.checkpoint import Checkpoint

import numpy as np
from pydantic import Field, model_validator

MEMBERS, WEIGHTS = "members", "weights"  # how the names of arrays in a checkpoint begin
WEIGHTS_FILE = "weights.json"  # has those fitted on the whole validation text, for another mixture
NAMES = ("members", "weights_by")  # settings that two mixtures with the same weights share
# The texts that weights are fitted on: for use elsewhere, and for each half of the validation text.
TEXTS = ("whole", "for_first_half", "for_second_half")
Features = Sequence[FloatArray] | FloatArray  # an entropy of each token by member: (features, ...)


class MixtureSettings(Settings):
    """A weighted sum of the distributions of other models."""

    members: list[str] = Field(min_length=1, description="the models, by their names in the table")
    weights_by: list[str] = Field(
        description="members on whose entropies the weights depend; []: constant weights"
    )
    knots: Annotated[int, Field(ge=2, le=100)] = Field(
        description="of each entropy: quantiles between which weights are interpolated"
    )
    prior: float = Field(
        gt=0,
        description="tokens with constant weights that are added to each combination of knots",
    )
    iterations: Count = Field(description="of expectation maximization")
    weights_from: str | None = Field(
        description="weights.json of a mixture with the same members, whose weights are used; "
        "null: they are fitted on the validation text"
    )
    checkpoint: Literal["latest", "best"] = Field(description="of each trained member")
    min_context: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="as evaluate.min_context, in the text that weights are fitted on"
    )
    batch_tokens: Count = Field(description="read at a time, as evaluate.batch_tokens")

    @model_validator(mode="after")
    def _compatible(self) -> Self:
        if unknown := set(self.weights_by) - set(self.members):
            raise ValueError(f"weights_by: {min(unknown)!r} is not one of the members")
        return self


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
        entropies : before each token, (features, tokens)
        """
        possible = logs.max(axis=1) > -np.inf  # under a member, and so under the mixture
        logs, entropies = logs[possible], entropies[:, possible]
        quantiles = np.linspace(0, 1, settings.knots)
        knots = np.quantile(entropies, quantiles, axis=1).T
        # Relative to the most probable member, as a probability may underflow.
        relative = np.exp(logs - logs.max(axis=1, keepdims=True))
        even = cls.even(logs.shape[1], settings.knots)
        constant = even._maximized(relative, entropies[:0], 0.0, settings.iterations)
        start = np.repeat(constant.table, settings.knots ** len(knots), axis=0)
        return cls(knots, start)._maximized(
            relative, entropies, settings.prior * constant.table, settings.iterations
        )

    def _maximized(
        self, probabilities: FloatArray, entropies: Features, prior: Any, iterations: int
    ) -> "Weights":
        """Return the weights after iterations of expectation maximization."""
        rows, shares = self._interpolated(entropies)
        table = self.table
        rows_of_tokens = np.broadcast_to(rows, (len(probabilities), rows.shape[-1])).ravel()
        for _ in range(iterations):
            # How likely a row and a member are for each token: (tokens, rows of it, members).
            joint = shares[..., None] * table[rows] * probabilities[:, None]
            joint /= joint.sum(axis=(1, 2), keepdims=True)
            by_member = np.moveaxis(joint, -1, 0).reshape(table.shape[1], -1)
            counts = [np.bincount(rows_of_tokens, each, len(table)) for each in by_member]
            table = np.stack(counts, axis=1) + prior
            table /= table.sum(axis=1, keepdims=True)
        return Weights(self.knots, table)

    def _interpolated(self, entropies: Features) -> tuple[IntArray, FloatArray]:
        """Return the rows between which each token lies, and their shares, which sum to 1.

        Shapes: (features, ...) -> (..., 2 ** features) twice; (1,) without features.
        """
        n_knots = self.knots.shape[1]
        rows, shares = np.zeros(1, np.int64), np.ones(1)
        for knots, entropy in zip(self.knots, entropies, strict=True):
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
        facts = read_json(path)
        try:
            for key in NAMES:
                if facts[key] != getattr(settings, key):
                    raise ValueError(f"its {key} are {facts[key]}")
            n_features, n_knots = len(settings.weights_by), settings.knots
            knots = np.array(facts["knots"], np.float64).reshape(n_features, n_knots)
            table = np.array(facts["table"], np.float64)
            table = table.reshape(n_knots**n_features, len(settings.members))
            if not ((table >= 0).all() and (abs(table.sum(axis=1) - 1) < 1e-9).all()):
                raise ValueError("its weights are not shares that sum to 1")
            return cls(knots, table)
        except (ValueError, TypeError, LookupError) as error:
            raise InputError(f"{path} does not fit this mixture: {error}") from None

    def __call__(self, entropies: Features) -> FloatArray:
        """Return the weights of the members, (..., members); (members,) without features."""
        rows, shares = self._interpolated(entropies)
        weights: FloatArray = (shares[..., None] * self.table[rows]).sum(axis=-2)
        return weights


class Mixture(Kind):
    """A mixture of models with one vocabulary; the attributes are those of `LanguageModel`.

    Its checkpoint contains the members.

    Parameters
    ----------
    members : the models
    features : the indices of the members whose entropies determine the weights
    weights : of the members
    cross_fitted : see `parts_of_validation`; empty if the weights were given
    """

    Settings = MixtureSettings
    color = GREEN
    in_rungs = False
    deterministic = False

    @classmethod
    def fit(
        cls, start: Checkpoint, settings: Any, text: Prepared, folder: Path, log: Log = no_log
    ) -> Checkpoint:
        """Determine the weights; write them to `WEIGHTS_FILE`, too. See `Kind.fit`.

        Raises
        ------
        InputError
            If a file has no weights of this mixture, or a member has tokens of its own.
        """
        if settings.weights_from is not None:
            weights = [Weights.load(Path(settings.weights_from), settings)]
        else:
            weights = cls._fitted(start, settings, text)
        write_json(folder / WEIGHTS_FILE, weights[0].facts(settings))
        arrays = dict(start.model)
        for name, each in zip(texts_of(settings), weights, strict=True):
            arrays |= {f"{WEIGHTS}.{name}.{key}": array for key, array in vars(each).items()}
        return replace(start, model=arrays)

    @classmethod
    def _fitted(cls, start: Checkpoint, settings: MixtureSettings, text: Prepared) -> list[Weights]:
        """Return the weights fitted on the whole text, on its second half and on its first half."""
        count = len(settings.members)
        unfitted = cls(*open_members(settings, start), Weights.even(count, settings.knots))
        halves = np.split(text.val, [len(text.val) // 2])
        first, second = (unfitted._observed(half, settings) for half in halves)
        return [
            Weights.fitted(seen[:, :count], seen[:, count:].T, settings)
            for seen in (np.concatenate([first, second]), second, first)
        ]

    def _observed(self, text: IntArray, settings: MixtureSettings) -> FloatArray:
        """Return what `observe` returns of the tokens after the first ones, side by side."""
        lead = min(max(1, self.context_length), len(text) // 2)
        return read_tokens(
            self,
            lambda tokens: np.dstack(self.observe(tokens)),
            text[lead:],
            text[:lead],
            min_context=settings.min_context,
            batch_tokens=settings.batch_tokens,
        )

    @classmethod
    def restore(cls, settings: MixtureSettings, checkpoint: Checkpoint) -> dict[str, LanguageModel]:
        opened = open_members(settings, checkpoint)
        names = [f"{WEIGHTS}.{text}" for text in texts_of(settings)]
        whole, *parts = [Weights(**below(checkpoint.model, name)) for name in names]
        return {checkpoint.name: cls(*opened, whole, [cls(*opened, each) for each in parts])}

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

    def observe(self, tokens: IntArray) -> list[FloatArray]:
        """Return the log probability of each token but the first, and the entropies before it.

        Parameters
        ----------
        tokens : (sequences, length)

        Returns
        -------
        Log probabilities by member, (sequences, length - 1, members), and the entropies of each
        feature in nats, (sequences, length - 1).
        """
        logs: list[FloatArray] = []
        entropies: dict[int, FloatArray] = {}
        for index, member in enumerate(self.members):
            if index in self._features:
                whole = member.log_probabilities(tokens[:, :-1])
                logs.append(np.take_along_axis(whole, tokens[:, 1:, None], -1)[..., 0])
                entropies[index] = entropy(whole)
            else:
                logs.append(-member.nll(tokens))
        return [np.stack(logs, axis=-1), *(entropies[index] for index in self._features)]

    def nll(self, tokens: IntArray) -> FloatArray:
        logs, *entropies = self.observe(tokens)
        with np.errstate(divide="ignore"):  # a weight may be 0
            logs += np.log(self.weights(entropies))
        # A probability may be rounded to more than 1, and -log(1) is -0.0.
        nats: FloatArray = np.maximum(-np.logaddexp.reduce(logs, axis=-1), 0.0) + 0.0
        return nats

    def mixed(self, logs: Sequence[FloatArray]) -> FloatArray:
        """Return the log probabilities of the mixture from those of its members, all (..., V)."""
        weights = self.weights([entropy(logs[index]) for index in self._features])
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
    values: FloatArray = -(np.exp(logs) * finite).sum(axis=-1)
    return values


def texts_of(settings: MixtureSettings) -> tuple[str, ...]:
    """Return the names of the sets of weights: of `TEXTS`, or one if they are given."""
    return TEXTS if settings.weights_from is None else TEXTS[:1]


def open_members(
    settings: MixtureSettings, checkpoint: Checkpoint
) -> tuple[list[LanguageModel], list[int]]:
    """Return the members in a checkpoint, and the indices of those in weights_by.

    Raises
    ------
    InputError
        If a member has tokens of its own.
    """
    models: dict[str, LanguageModel] = {}
    for each in member_checkpoints(checkpoint):
        models |= restore(each)
    if others := [each for each in settings.members if own_tokenizer(models[each])]:
        raise InputError(
            f"members: {others[0]} has tokens of its own; the members of a mixture share them"
        )
    members = [models[member] for member in settings.members]
    return members, [settings.members.index(each) for each in settings.weights_by]


def member_checkpoints(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """Yield the checkpoints of the rungs of the members that the checkpoint of a mixture has."""
    for name, config in checkpoint.members.items():
        arrays = below(checkpoint.model, f"{MEMBERS}.{name}")
        facts = {"name": name, "kind": config["kind"], "config": config}
        yield replace(checkpoint, **facts, members={}, model=arrays)


def below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Return the arrays whose names begin with a prefix and a dot, without these."""
    start = f"{prefix}."
    return {k.removeprefix(start): each for k, each in arrays.items() if k.startswith(start)}
