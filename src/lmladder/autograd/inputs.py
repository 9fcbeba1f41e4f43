"""What an op takes: arrays of floats of one type, and of integers or booleans where it says so."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from lmladder.system.arrays import Array
from lmladder.tracing import asarray, current

import numpy as np


def as_arrays(name: str, inputs: Sequence[Any], discrete: Mapping[int, str]) -> list[Array]:
    """What came for an op as arrays: all floats of one type, but at the `discrete` places.

    Parameters
    ----------
    name : of the op, for what is said when something does not fit
    inputs : arrays, lists and numbers; of Tensors, their arrays
    discrete : places of booleans ("b") or integers ("iu"), see `op`

    Raises
    ------
    TypeError
        If something is no array, or of the wrong type, or floats are of two types.
    """
    if not inputs:
        raise TypeError(f"{name} wants an array at least")
    arrays = [current(each) for each in inputs]
    dtype = None
    others = []  # places of what is no array of floats
    for place, array in enumerate(arrays):
        if place in discrete or not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            others.append(place)
        elif dtype is None:
            dtype = array.dtype
        elif array.dtype != dtype:
            mixed = " and ".join(sorted([str(dtype), str(array.dtype)]))
            raise TypeError(f"{name} of shapes {shapes(arrays)} mixes {mixed}; astype converts")
    for place in others:
        if place in discrete:
            arrays[place] = _discrete(name, place, arrays[place], discrete[place])
        else:
            arrays[place] = _floats(name, arrays[place], dtype or np.dtype(np.float64))
    return arrays


def _floats(name: str, given: Any, dtype: np.dtype[Any]) -> Array:
    """What is no array of floats yet as one of this type."""
    if isinstance(given, list | tuple) and any(hasattr(each, "requires_grad") for each in given):
        raise TypeError(f"{name} takes Tensors one by one, not in a {type(given).__name__}")
    if isinstance(given, Real | np.ndarray | list | tuple):
        array = asarray(given)
        if array.dtype.kind in "iubf":
            return array.astype(dtype)
    raise TypeError(f"{name} takes no {type(given).__name__} as an array (options go by keyword)")


def _discrete(name: str, place: int, given: Any, kinds: str) -> Array:
    """An array of integers or booleans, as it is."""
    if isinstance(given, np.ndarray | np.integer | list | tuple) or type(given) is int:
        array = asarray(given)
        if array.dtype.kind in kinds:
            return array
    what = "booleans" if kinds == "b" else "integers"
    kind = getattr(given, "dtype", type(given).__name__)
    raise TypeError(f"{name} takes an array of {what} as argument {place}, not {kind}")


def shapes(arrays: Sequence[Any]) -> str:
    """The shapes of some arrays, for an error to name."""
    return ", ".join(str(np.shape(array)) for array in arrays)
