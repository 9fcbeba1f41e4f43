"""Reading files of unknown origin: sizes first, and one line for every error."""

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lmladder.data.reading import opened
from lmladder.system.arrays import Array, FloatArray
from lmladder.system.errors import InputError

import numpy as np
from safetensors import SafetensorError, deserialize

STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # NumPy has no bfloat16
LARGEST_SIZE = (1 << 31) - 1  # of an axis


def size_from(fields: Mapping[str, Any], key: str, path: Path) -> int:
    """Return the value of `key` if it is an integer that may be the length of an axis."""
    value = fields.get(key)
    if type(value) is not int or not 0 < value <= LARGEST_SIZE:
        raise InputError(
            f"{path}: {key} must be an integer of at least 1, got {reprlib.repr(value)}"
        )
    return value


def read_tensors(path: Path, leave_out: tuple[str, ...]) -> dict[str, Array]:
    """Return the tensors of a safetensors file by name, except names with one of these endings.

    Values are exact: float64 where they are stored so, else float32.

    Raises
    ------
    InputError
        If the file is missing or damaged, or a value is not a finite float.
    """
    tensors: dict[str, Array] = {}
    try:
        with opened(path, "rb") as file:
            entries: Any = deserialize(file.read())  # type: ignore[no-untyped-call]
    except (SafetensorError, MemoryError) as error:
        raise InputError(f"{path} is not a complete safetensors file: {error}") from None
    for name, entry in entries:
        dtype = str(entry["dtype"])
        if name.endswith(leave_out):
            continue
        if dtype not in STORED:
            raise InputError(f"{path}: {name} has dtype {dtype}, not one of {', '.join(STORED)}")
        array: Array = np.frombuffer(entry["data"], STORED[dtype]).reshape(entry["shape"])
        if dtype == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        elif dtype != "F64":
            array = array.astype(np.float32, copy=False)
        require_float32_range(array, f"{path}: {name}")
        tensors[name] = array
    return tensors


def require_float32_range(array: FloatArray, name: str) -> None:
    """Raise InputError for NaN, infinity, and values outside the range of float32."""
    if array.size and not np.abs(array).max() <= np.finfo(np.float32).max:
        raise InputError(f"{name} has values that are not finite in float32")


def require_names(found: Iterable[str], expected: Iterable[str], path: Path) -> None:
    """Raise InputError, with a name, unless both have the same names."""
    found, expected = set(found), set(expected)
    if missing := sorted(expected - found):
        raise InputError(f"{path} does not have {missing[0]}")
    if unknown := sorted(found - expected):
        raise InputError(f"{path} has {reprlib.repr(unknown[0])}, which this model does not have")
