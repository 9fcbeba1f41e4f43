"""One file that holds all a run needs to go on, or to be sampled from.

The format is safetensors: named arrays behind a JSON header, nothing that could be executed.
Weights are named "model.*" and the optimizer's running means "optimizer.*"; all else is one JSON
text in the header's metadata, sealed with the sha256 of itself and of all arrays, so that a file
changed or cut anywhere is refused. The same contents always give the same bytes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lmladder.data import Tokenizer, tokenizer_from_json
from lmladder.models import LanguageModel
from lmladder.models.registry import KINDS
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write
from lmladder.system.sealing import seal, sha256_of, unseal
from lmladder.system.settings import imported, read

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

LATEST, BEST = "checkpoint.safetensors", "best.safetensors"  # their names in a run's folder
METRICS = "metrics.json"
TRAINED = "trained.json"  # what trained the checkpoints beside it, and their sha256
SCHEMA = 3  # of the metadata; raised when an older reader would misread a newer file
REMEDY = "copy it anew from where it came, or make it again with `dvc repro`"


@dataclass(frozen=True)
class Checkpoint:
    """A model, and where its training stands.

    Attributes
    ----------
    name : of its model in the table, if it has but one
    kind : of its models, see `KINDS`
    config : the resolved configuration of this rung
    seed : of the run
    vocabulary_size : of the tokenizer
    tokenizer : its JSON
    data_digest : sha256 of the prepared data
    trained_by : what else decides the bytes, by name: code, kernels, versions. Empty in a published
        checkpoint, whose bytes do not change with a comment in the code.
    init_digest : sha256 of the file of weights that training began from; None: drawn by the seed
    step : how many steps have been taken; 0 for count models
    history : one mapping for each line of history.csv
    pending : what was measured in each step since the last of these lines
    model, optimizer : arrays by name
    """

    name: str
    kind: str
    config: dict[str, Any]
    seed: int
    vocabulary_size: int
    tokenizer: dict[str, Any]
    data_digest: str
    trained_by: Mapping[str, str] = field(default_factory=dict)
    init_digest: str | None = None
    step: int = 0
    history: tuple[dict[str, Any], ...] = ()
    pending: tuple[dict[str, float], ...] = ()
    model: Mapping[str, Array] = field(default_factory=dict)
    optimizer: Mapping[str, Array] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, str]:
        """All that decides what training gives, by name; runs that have the same are one run."""
        settings = [self.kind, self.config, self.seed, self.init_digest]
        return {
            "settings": _sha256_of_json(settings),
            "data": _sha256_of_json([self.data_digest, self.tokenizer]),
            **self.trained_by,
        }

    def save(self, path: Path) -> None:
        """Write the file, or leave what was there: it appears under its name only when whole."""
        header = {
            "schema": SCHEMA,
            "name": self.name,
            "kind": self.kind,
            "config": self.config,
            "seed": self.seed,
            "vocabulary_size": self.vocabulary_size,
            "tokenizer": self.tokenizer,
            "data_digest": self.data_digest,
            "step": self.step,
            "history": list(self.history),
            "pending": list(self.pending),
        }
        for name in ("trained_by", "init_digest"):
            if value := getattr(self, name):
                header[name] = value
        arrays = {
            **{f"model.{name}": array for name, array in self.model.items()},
            **{f"optimizer.{name}": array for name, array in self.optimizer.items()},
        }
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        # One metadata key only: safetensors writes several in an order that changes.
        metadata = {"lmladder": seal(header, content_of(contiguous))}
        atomic_write(path, to_safetensors(contiguous, metadata=metadata))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a file that `save` wrote.

        Raises
        ------
        InputError
            If there is none, or it has changed since it was saved, if only by a bit; if it is cut
            off, of another kind or of another schema. Memory is taken only for what is there.
        """
        try:
            if not path.is_file():
                raise InputError(f"there is no checkpoint {path}")
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is not a whole safetensors file of NumPy types: {error}; {REMEDY}"
            ) from None
        if "lmladder" not in metadata:
            raise InputError(f"{path} is a safetensors file, but not a checkpoint of lmladder")
        try:
            schema = json.loads(metadata["lmladder"])["schema"]
            if schema != SCHEMA:
                of = " of lmladder 0.1" if schema in (1, 2) else ""
                raise InputError(
                    f"{path} has schema {schema}{of}; this version reads {SCHEMA}; "
                    "make it again with `dvc repro`"
                )
            header = unseal(metadata["lmladder"], content_of(arrays))
            del header["schema"]
            if not (isinstance(header["name"], str) and isinstance(header["kind"], str)):
                raise ValueError("its name and its kind must be texts")
            header["history"] = tuple(header["history"])
            header["pending"] = tuple(header["pending"])
            header["trained_by"] = dict(header.get("trained_by", {}))
            return cls(
                **header, model=_under("model.", arrays), optimizer=_under("optimizer.", arrays)
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} is damaged: {error}; {REMEDY}") from None

    def restore_tokenizer(self) -> Tokenizer:
        """The tokenizer that the model was trained with."""
        tokenizer = tokenizer_from_json(self.tokenizer)
        if tokenizer.vocabulary_size != self.vocabulary_size:
            raise InputError(
                f"the checkpoint's model has {self.vocabulary_size} tokens, "
                f"its tokenizer {tokenizer.vocabulary_size}"
            )
        return tokenizer

    def restore_models(self) -> dict[str, LanguageModel]:
        """The models that this file holds, by name, weakest first.

        Raises
        ------
        InputError
            If the arrays do not fit the configuration beside them.
        """
        try:
            restore = imported(KINDS[self.kind].fit.restore)
            models: dict[str, LanguageModel] = restore(
                self.kind, self.settings(), self.vocabulary_size, self.model, self.name
            )
            return models
        except (ValueError, MemoryError) as error:
            raise InputError(
                f"the checkpoint does not fit its own configuration: {error}"
            ) from None

    def settings(self) -> Any:
        """The settings of its models, without those of their training.

        Raises
        ------
        InputError
            If the kind is unknown, or its configuration is not that of such a model.
        """
        schema = KINDS.model_settings(self.kind)
        if not isinstance(self.config, dict):
            raise InputError("the checkpoint's configuration is not a mapping")
        names = {each.name for each in fields(schema)}
        given = {name: value for name, value in self.config.items() if name in names}
        return read(schema, given)


def content_of(arrays: Mapping[str, Array]) -> Iterator[bytes]:
    """What the seal of a checkpoint covers of its arrays: names, types, shapes and numbers."""
    for name, array in sorted(arrays.items()):
        yield f"{name} {array.dtype.str} {array.shape}\n".encode()
        yield np.ascontiguousarray(array).tobytes()


def weights_digest(arrays: Mapping[str, Array]) -> str:
    """What tells a model's arrays from all others: the first 16 digits of the sha256 of them."""
    return sha256_of(content_of(arrays))[:16]


def _under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with prefix, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _sha256_of_json(value: Any) -> str:
    return sha256_of([json.dumps(value, sort_keys=True).encode()])
