"""Converting the arguments of an op to arrays, and checking them."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from lmladder.system.arrays import Array
from lmladder.tracing import asarray, current

import numpy as np


def as_arrays(name: str, inputs: Sequence[Any], discrete: Mapping[int, str]) -> list[Array]:
    """Return the inputs of an op as arrays, all of one float dtype except the discrete ones.

    Parameters
    ----------
    name : the name of the op, for errors
    inputs : arrays, lists and numbers, and the values of Tensors
    discrete : positions of booleans ("b") or integers ("iu"), see `op`

    Raises
    ------
    TypeError
        If an input is not an array or has a wrong dtype, or floats have two dtypes.
    """
    arrays = [current(each) for each in inputs]
    floats = {
        array.dtype
        for position, array in enumerate(arrays)
        if position not in discrete and isinstance(array, np.ndarray) and array.dtype.kind == "f"
    }
    if len(floats) > 1:
        mixed = " and ".join(sorted(map(str, floats)))
        raise TypeError(f"{name} of shapes {shapes(arrays)} mixes {mixed}; use astype")
    dtype = next(iter(floats), np.dtype(np.float64))
    for position, given in enumerate(arrays):
        if position in discrete:
            kinds = discrete[position]
            expected = f"an array of {'booleans' if kinds == 'b' else 'integers'}"
            arrays[position] = _array(name, given, kinds, f"{expected} as argument {position}")
        elif not (isinstance(given, np.ndarray) and given.dtype == dtype):
            expected = "arrays (options are keyword arguments)"
            arrays[position] = _array(name, given, "iubf", expected).astype(dtype)
    return arrays


def _array(name: str, given: Any, kinds: str, expected: str) -> Array:
    """Return an argument as an array, whose dtype is of one of the kinds."""
    if isinstance(given, list | tuple) and any(hasattr(each, "requires_grad") for each in given):
        raise TypeError(f"{name} expects Tensors as arguments, not in a {type(given).__name__}")
    if isinstance(given, Real | np.ndarray | list | tuple):
        array = asarray(given)
        if array.dtype.kind in kinds:
            return array
    kind = getattr(given, "dtype", type(given).__name__)
    raise TypeError(f"{name} expects {expected}, not {kind}")


def shapes(arrays: Sequence[Any]) -> str:
    """Return the shapes of some arrays, for an error message."""
    return ", ".join(str(np.shape(array)) for array in arrays)
