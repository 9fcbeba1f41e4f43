"""Reading files that strangers wrote: sizes first, one line for whatever is wrong."""

import json
import reprlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from lmladder.arrays import Array, FloatArray
from lmladder.errors import InputError

import numpy as np
from safetensors import SafetensorError, safe_open

JSON_BYTES = 1 << 28  # the most that is read of a JSON file; in memory it takes some ten times that
STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # NumPy has no bfloat16
LARGEST_SIZE = (1 << 31) - 1  # of any one axis


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError if there is none, or it is huge or not quite JSON."""
    try:
        if not path.is_file():
            raise InputError(f"there is no file {path}")
        size = path.stat().st_size
        if size > JSON_BYTES:
            raise InputError(f"{path} has {size:,} bytes; more than {JSON_BYTES:,} are not read")
        value = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def size_from(fields: Mapping[str, Any], key: str, path: Path) -> int:
    """The value of `key` if it is a whole number that may be the length of an axis."""
    value = fields.get(key)
    if type(value) is not int or not 0 < value <= LARGEST_SIZE:
        raise InputError(
            f"{path}: {key} must be a whole number, more than 0, not {reprlib.repr(value)}"
        )
    return value


class StoredTensors:
    """The tensors of a safetensors file: names and shapes at once, numbers when asked for.

    Attributes
    ----------
    shapes : of all tensors, by name

    Raises
    ------
    InputError
        If there is no such file, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():
                raise InputError(f"there is no file {path}")
            with safe_open(path, framework="np"):
                pass  # sizes, offsets and types are checked against each other and the file
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                self._entries: dict[str, Any] = json.loads(file.read(length))
        except (SafetensorError, OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path} is not a whole safetensors file: {error}") from None
        self._entries.pop("__metadata__", None)
        self._data_start = 8 + length
        self.shapes = {name: tuple(entry["shape"]) for name, entry in self._entries.items()}

    def read(self, name: str) -> Array:
        """A tensor's numbers, exactly: float64 where they are stored so, else float32."""
        entry = self._entries[name]
        stored = STORED.get(entry["dtype"])
        if stored is None:
            raise InputError(
                f"{self.path}: {name} is stored as {entry['dtype']}; read are {', '.join(STORED)}"
            )
        offset = self._data_start + entry["data_offsets"][0]
        count = int(np.prod(self.shapes[name], dtype=np.int64))
        array: Array = np.fromfile(self.path, stored, count, offset=offset)
        if entry["dtype"] == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        elif stored != STORED["F64"]:
            array = array.astype(np.float32)
        require_float32_range(array, f"{self.path}: {name}")
        return array.reshape(self.shapes[name])


def require_float32_range(array: FloatArray, name: str) -> None:
    """InputError for nan, infinity, and what a float32, in which models compute, cannot hold."""
    if array.size and not np.abs(array).max() <= np.finfo(np.float32).max:
        raise InputError(f"{name} has numbers that are not finite in float32")


def require_layers(n_layer: int, names: Collection[str], path: Path) -> None:
    """InputError for more layers than weights, before anyone counts to what may be a huge number.

    It is no proof that a file has the last layer: a stranger can give one weight any number.
    """
    if n_layer > len(names):
        raise InputError(f"{path} has {len(names)} weights, too few for {n_layer} layers")


def require_names(found: Iterable[str], expected: Iterable[str], path: Path) -> None:
    """InputError, with a name, unless the two are the same."""
    found, expected = set(found), set(expected)
    if missing := sorted(expected - found):
        raise InputError(f"{path} has no {missing[0]}")
    if unknown := sorted(found - expected):
        raise InputError(f"{path} has {reprlib.repr(unknown[0])}, which is no weight of this model")
