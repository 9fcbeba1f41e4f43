"""One file that holds all a run needs to go on, or to be sampled from.

The format is safetensors: named arrays behind a JSON header, nothing that could be executed.
Weights are named "model.*" and the optimizer's running means "optimizer.*"; all else is one JSON
text in the header's metadata, sealed with the sha256 of itself and of all arrays, so that a file
changed or cut anywhere is refused. The same contents always give the same bytes.
"""

import functools
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lmladder.arrays import Array, FloatArray
from lmladder.atomic import atomic_write
from lmladder.config import BigramConfig, from_mapping
from lmladder.errors import InputError
from lmladder.models import ARCHITECTURES, LanguageModel, build_neural
from lmladder.models.counts import CountTables
from lmladder.models.ngram import count_ladder
from lmladder.sealing import seal, sha256_of, unseal
from lmladder.text import Tokenizer, tokenizer_from_json

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

PACKAGE = Path(__file__).parent
IMPORT = re.compile(  # as `ruff format` leaves them; a parser takes a quarter of a second for all
    r"^ *(?:from|import) lmladder(?:\.(\w+)| import (\([^)]*\)|.*))", re.MULTILINE
)
SCHEMA = 2  # of the metadata; raised when an older reader would misread a newer file
MOST_WAVES = 1 << 26  # numbers in a table of sinusoidal positions, which no file holds
REMEDY = "copy it anew from where it came, or make it again with `dvc repro`"


@dataclass(frozen=True)
class Checkpoint:
    """A model, and where its training stands.

    Attributes
    ----------
    kind : "bigram" for the count models, which share their counts, "mlp" or "transformer"
    config : the resolved configuration of this rung
    seed : of the run
    vocabulary_size : of the tokenizer
    tokenizer : its JSON
    data_digest, code_digest : sha256 of the prepared data and of the modules that trained
    init_digest : sha256 of the file of weights that training began from; None: drawn by the seed
    step : how many steps have been taken; 0 for count models
    history : one mapping for each line of history.csv
    pending : what was measured in each step since the last of these lines
    model, optimizer : arrays by name
    """

    kind: str
    config: dict[str, Any]
    seed: int
    vocabulary_size: int
    tokenizer: dict[str, Any]
    data_digest: str
    code_digest: str
    init_digest: str | None = None
    step: int = 0
    history: tuple[dict[str, Any], ...] = ()
    pending: tuple[dict[str, float], ...] = ()
    model: Mapping[str, Array] = field(default_factory=dict)
    optimizer: Mapping[str, Array] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """sha256 of all that decides what training gives; two runs that share it are one run."""
        origin = [
            self.kind,
            self.config,
            self.seed,
            self.tokenizer,
            self.data_digest,
            self.code_digest,
            *([self.init_digest] if self.init_digest else []),
        ]
        return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the file, or leave what was there: it appears under its name only when whole."""
        header = {
            "schema": SCHEMA,
            "kind": self.kind,
            "config": self.config,
            "seed": self.seed,
            "vocabulary_size": self.vocabulary_size,
            "tokenizer": self.tokenizer,
            "data_digest": self.data_digest,
            "code_digest": self.code_digest,
            "step": self.step,
            "history": list(self.history),
            "pending": list(self.pending),
        }
        if self.init_digest:
            header["init_digest"] = self.init_digest
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
                raise InputError(
                    f"{path} has schema {schema}; this version reads {SCHEMA}; "
                    "make it again with `dvc repro`"
                )
            header = unseal(metadata["lmladder"], content_of(arrays))
            del header["schema"]
            header["history"] = tuple(header["history"])
            header["pending"] = tuple(header["pending"])
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
        if self.kind not in (COUNTS, *ARCHITECTURES):
            raise InputError(f"a checkpoint of unknown kind {self.kind!r}")
        if not isinstance(self.config, dict):
            raise InputError("the checkpoint's configuration is no mapping")
        try:
            if self.kind == COUNTS:
                config = from_mapping(BigramConfig, self.config)
                tables = CountTables.from_arrays(self.model, self.vocabulary_size)
                ladder = count_ladder(
                    tables, add_k=config.add_k, kneser_ney_orders=config.kneser_ney_orders
                )
                return dict(ladder)
            architecture = self.architecture()
            zeros: Any = _Zeros(sum(array.size for array in self.model.values()))
            waves = getattr(architecture, "positions", None) == "sinusoidal"
            if waves and architecture.context_length * architecture.d_model > MOST_WAVES:
                raise ValueError(
                    f"context_length={architecture.context_length} asks for more than "
                    f"{MOST_WAVES:,} numbers"
                )
            model = build_neural(architecture, self.vocabulary_size, rng=zeros)
            model.load(self.model)
            return {model.name: model}
        except (ValueError, MemoryError) as error:
            raise InputError(
                f"the checkpoint does not fit its own configuration: {error}"
            ) from None

    def architecture(self) -> Any:
        """What the model of a neural rung is made of; InputError if the configuration is none."""
        schema, _ = ARCHITECTURES[self.kind]
        names = {each.name for each in fields(schema)}
        settings = {name: value for name, value in self.config.items() if name in names}
        return from_mapping(schema, settings)


class _Zeros:
    """In the place of a generator, for weights that are about to be replaced.

    A configuration may ask for weights of any size, so no more are made than the file holds.
    """

    def __init__(self, held: int) -> None:
        self.held = self.left = held

    def standard_normal(self, shape: tuple[int, ...]) -> FloatArray:
        self.left -= math.prod(shape)
        if self.left < 0:
            raise ValueError(f"its sizes ask for more than the {self.held} numbers that it holds")
        return np.zeros(shape)


COUNTS = "bigram"  # the kind of a checkpoint of count models, as their stage is called


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


@functools.cache
def code_digest(module: Path) -> str:
    """sha256 of all source of this package that a module of it stands on.

    That is read from import statements, as a process may have loaded more, such as all stages of a
    ladder. A package of which anything is imported counts whole, as it does for DVC.
    """
    sources = {module: module.read_bytes()}
    names = _imported(sources[module])
    seen: set[str] = set()
    while names:
        seen.add(name := names.pop())
        for path in (PACKAGE / f"{name}.py", *(PACKAGE / name).rglob("*.py")):
            if path.is_file():
                sources[path] = path.read_bytes()
                names |= _imported(sources[path]) - seen
    digest = hashlib.sha256()
    for path in sorted(sources):
        place = path.relative_to(PACKAGE).as_posix()
        digest.update(f"{place} {len(sources[path])}\n".encode() + sources[path])
    return digest.hexdigest()


def _imported(source: bytes) -> set[str]:
    """The modules and packages right under this one that a source imports, and `__init__`."""
    named = (part + names for part, names in IMPORT.findall(source.decode()))
    return {"__init__", *re.findall(r"\w+", " ".join(named))}
