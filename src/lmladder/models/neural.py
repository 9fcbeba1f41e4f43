"""The base class of neural models: everything but the hidden vectors."""

import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from lmladder import kernels
from lmladder.autograd import Tensor, functional, no_grad
from lmladder.data import Prepared
from lmladder.models.contract import Decoder, LanguageModel, log_softmax, require_complete
from lmladder.models.kind import Kind, Log, no_log
from lmladder.nn import Linear
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.files import sha256
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint
from lmladder.training.loop import VERSIONS, Trainable, TrainingRun, train
from lmladder.training.settings import GradientSettings

import numpy as np

# Settings of an architecture that may differ when training begins from given weights.
MAY_DIFFER = ("dropout", "init_std", "residual_scaling")


class NeuralLanguageModel(Trainable, Kind):
    """A model that is trained by gradients; the attributes are those of `LanguageModel`.

    A subclass defines `hidden`, and `unembedding` or `head`. The arguments of its constructor are
    the settings, the size of the vocabulary and, by keyword, `rng`, from which weights are drawn.
    """

    RunSettings = GradientSettings
    by_steps = True
    deterministic = False

    vocabulary_size: int
    context_length: int
    max_length: int | None
    unembedding: Linear | None

    def hidden(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the vector from which the token after each position is predicted.

        Parameters
        ----------
        tokens : (sequences, length)
        rng : for dropout; None outside training

        Returns
        -------
        Tensor, shape (sequences, length, size); a position depends on itself and earlier ones only
        """
        raise NotImplementedError

    def head(self, hidden: Tensor) -> Tensor:
        """Return the logits of all tokens: (..., size) -> (..., vocabulary_size)."""
        assert self.unembedding is not None
        return self.unembedding(hidden)

    def logits(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the logits after each position: (sequences, length) -> (..., vocabulary_size)."""
        return self.head(self.hidden(tokens, rng))

    def loss(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        """Return the mean negative log-likelihood of each token but the first of each sequence.

        Parameters
        ----------
        tokens : (sequences, length)

        Returns
        -------
        Tensor, shape (), in nats per token
        """
        return functional.cross_entropy(self.logits(tokens[:, :-1], rng), tokens[:, 1:])

    def nll(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            logits = self.logits(tokens[:, :-1]).value
        nats, _ = kernels.cross_entropy(logits, tokens[:, 1:])
        return nats.astype(np.float64)

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            return log_softmax(self.logits(tokens).value[:, -1])

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        with no_grad():
            return log_softmax(self.logits(tokens).value)

    def decoder(self) -> Decoder:
        return Decoder(self)

    @classmethod
    def fit(
        cls, start: Checkpoint, settings: Any, text: Prepared, folder: Path, log: Log = no_log
    ) -> Checkpoint:
        """Train a model, or continue an unfinished run; see `Kind.fit`.

        Raises
        ------
        InputError
            If the model reads shorter sequences only, or given weights do not fit it.
        """
        rng = stream(start.seed, f"{start.kind} weights")
        model = cls(settings, start.vocabulary_size, rng=rng)  # type: ignore[call-arg]
        require_complete(model)
        length, longest = settings.training.sequence_length, model.max_length
        if longest is not None and length > longest:
            raise InputError(
                f"{start.name}: training.sequence_length={length} is more than max_length={longest}"
            )
        if settings.init_from is not None:
            digest = model.load_initial(Path(settings.init_from), start.name, settings, text)
            start = replace(start, init_digest=digest)
        packages = VERSIONS if kernels.selected() == "numba" else ("numpy",)
        versions = {name: import_module(name).__version__ for name in packages}
        trained_by = {**start.trained_by, "kernels": kernels.selected(), **versions}
        start = replace(start, trained_by=trained_by)
        return train(TrainingRun(model, start, settings, text.train, text.val, folder), log)

    @classmethod
    def restore(cls, settings: Any, checkpoint: Checkpoint) -> dict[str, LanguageModel]:
        zeros = _Zeros(np.random.PCG64(0))
        zeros.left = sum(array.size for array in checkpoint.model.values())
        model = cls(settings, checkpoint.vocabulary_size, rng=zeros)  # type: ignore[call-arg]
        model.load(checkpoint.model)
        return {checkpoint.name: model}

    def load_initial(self, path: Path, name: str, settings: Any, text: Prepared) -> str:
        """Load the weights of a checkpoint; return the sha256 of that file.

        Parameters
        ----------
        name : of the rung, for messages

        Raises
        ------
        InputError
            If the file is not a checkpoint of such a model with the same tokenizer; names the
            setting that differs.
        """
        source, where = Checkpoint.load(path), f"{name}.init_from"
        if source.kind != settings.kind:
            raise InputError(f"{where}: {path} is of kind {source.kind!r}, not {settings.kind!r}")
        for key in self.Settings.model_fields:
            ours, theirs = getattr(settings, key), source.config.get(key)
            if key not in MAY_DIFFER and ours != theirs:
                raise InputError(
                    f"{where}: the model in {path} has {name}.{key}={theirs}, not {ours}"
                )
        if source.tokenizer != text.tokenizer.to_json():
            raise InputError(
                f"{where}: {text.directory} has other tokens than the model in {path}; run "
                f"`python stages/compose.py tokenizer=checkpoint tokenizer.path={path} ...`, then "
                "`dvc repro prepare`"
            )
        try:
            self.load(source.model)
        except ValueError as error:
            raise InputError(f"{path} does not fit its own configuration: {error}") from None
        return sha256(path)

    def hidden_matrices(self) -> list[str]:
        """Return the names of the weights of hidden linear layers, without embeddings and head."""
        return [
            f"{name}.weight"
            for name, module in self.modules()
            if isinstance(module, Linear) and not name.endswith("unembedding")
        ]


class _Zeros(np.random.Generator):
    """A generator of zeros instead of normal values, for weights that will be replaced.

    It yields no more of them than the file contains, so that false settings take no memory.
    """

    left = 0

    def standard_normal(self, size: Any = (), *_: Any, **__: Any) -> Any:
        self.left -= math.prod(np.atleast_1d(size).tolist())
        if self.left < 0:
            raise ValueError("its settings require more values than it contains")
        return np.zeros(size)
