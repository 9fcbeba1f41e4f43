"""Checkpoints: one file with everything that is needed to resume a run or to sample from a model.

The format is safetensors: named arrays after a JSON header, and nothing that could be executed.
Weights are named "model.*" and the optimizer's running averages "optimizer.*". Everything else is
one JSON text in the metadata of the header. It contains the sha256 of itself and of all arrays, so
a file that was changed or truncated is rejected. Equal contents give equal bytes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lmladder.data import Tokenizer, tokenizer_from_json
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write
from lmladder.system.sealing import seal, sha256_of, sha256_of_json, unseal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

LATEST, BEST = "checkpoint.safetensors", "best.safetensors"  # names in a run's folder
METRICS = "metrics.json"
TRAINED = "trained.json"  # in the work folder: what trained the checkpoints, and their sha256
SCHEMA = 4  # of the metadata; increased when an older reader would misread a newer file
ARRAYS = ("model", "optimizer")  # the fields of a checkpoint that are arrays by name
REMEDY = "copy it again from its source, or make it again with `dvc repro`"


@dataclass(frozen=True)
class Checkpoint:
    """A model and the state of its training.

    Attributes
    ----------
    name : of its model in the table, if it has one model
    kind : of its models, see `lmladder.models.KINDS`
    config : the settings of this rung
    members : of a mixture, the settings of the rungs of its members, by name
    seed : of the run
    vocabulary_size : of the tokenizer
    tokenizer : as `Tokenizer.to_json` describes it
    data_digest : sha256 of the prepared data
    trained_by : what else determines the bytes, by name: code, kernels, versions. Empty in a
        published checkpoint, whose bytes do not change with a comment in the code.
    init_digest : sha256 of the checkpoint with the initial weights; None: the seed determines them
    step : number of steps taken; 0 for count models
    history : one mapping for each row of history.csv
    pending : what was measured in each step since the last of these rows
    model, optimizer : arrays by name
    """

    name: str
    kind: str
    config: dict[str, Any]
    seed: int
    vocabulary_size: int
    tokenizer: dict[str, Any]
    data_digest: str
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    trained_by: Mapping[str, str] = field(default_factory=dict)
    init_digest: str | None = None
    step: int = 0
    history: tuple[dict[str, Any], ...] = ()
    pending: tuple[dict[str, float], ...] = ()
    model: Mapping[str, Array] = field(default_factory=dict)
    optimizer: Mapping[str, Array] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, str]:
        """Everything that determines the result of training, by name; equal for equal runs."""
        settings = [self.kind, self.config, self.members, self.seed, self.init_digest]
        return {
            "settings": sha256_of_json(settings),
            "data": sha256_of_json([self.data_digest, self.tokenizer]),
            **self.trained_by,
        }

    @property
    def kinds(self) -> set[str]:
        """Its kind, and those of the members of a mixture."""
        return {self.kind, *(each["kind"] for each in self.members.values())}

    def save(self, path: Path) -> None:
        """Write the file atomically: it appears under its name only when it is complete."""
        header = {each.name: getattr(self, each.name) for each in fields(self)}
        arrays = {
            f"{part}.{name}": np.ascontiguousarray(array)
            for part in ARRAYS
            for name, array in header.pop(part).items()
        }
        for name in ("members", "trained_by", "init_digest"):
            if not header[name]:
                del header[name]
        # One metadata key only: safetensors writes several in an order that changes.
        metadata = {"lmladder": seal({"schema": SCHEMA, **header}, array_bytes(arrays))}
        atomic_write(path, to_safetensors(arrays, metadata=metadata))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a file that `save` wrote.

        Raises
        ------
        InputError
            If the file is missing, is not a checkpoint of this schema, or differs by as little as
            one bit from what was saved. Memory is used only for data that the file contains.
        """
        try:
            if not path.is_file():
                raise InputError(f"there is no checkpoint {path}")
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is not a complete safetensors file of NumPy types: {error}; {REMEDY}"
            ) from None
        if "lmladder" not in metadata:
            raise InputError(f"{path} is a safetensors file, but not a checkpoint of lmladder")
        try:
            header = unseal(metadata["lmladder"], array_bytes(arrays))
            if (schema := header.pop("schema")) != SCHEMA:
                raise ValueError(f"it has schema {schema}, this version reads {SCHEMA}")
            for name in ("history", "pending"):
                header[name] = tuple(header[name])
            parts: dict[str, Any] = {part: {} for part in ARRAYS}
            for name, array in arrays.items():
                part, _, own_name = name.partition(".")
                parts[part][own_name] = array
            return cls(**header, **parts)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} cannot be read: {error}; {REMEDY}") from None

    def restore_tokenizer(self) -> Tokenizer:
        """Return the tokenizer that the model was trained with."""
        return tokenizer_from_json(self.tokenizer)


def array_bytes(arrays: Mapping[str, Array]) -> Iterator[bytes]:
    """Yield what the digest of arrays covers: names, dtypes, shapes and values."""
    for name, array in sorted(arrays.items()):
        yield f"{name} {array.dtype.str} {array.shape}\n".encode()
        yield np.ascontiguousarray(array).tobytes()


def weights_digest(arrays: Mapping[str, Array]) -> str:
    """Return an identifier of a model's arrays: the first 16 digits of their sha256."""
    return sha256_of(array_bytes(arrays))[:16]
