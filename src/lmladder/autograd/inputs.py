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
            arrays[position] = _discrete(name, position, given, discrete[position])
        elif not (isinstance(given, np.ndarray) and given.dtype == dtype):
            arrays[position] = _floats(name, given).astype(dtype)
    return arrays


def _floats(name: str, given: Any) -> Array:
    """Return an array that can be converted to floats."""
    if isinstance(given, list | tuple) and any(hasattr(each, "requires_grad") for each in given):
        raise TypeError(f"{name} expects Tensors as arguments, not in a {type(given).__name__}")
    if isinstance(given, Real | np.ndarray | list | tuple):
        array = asarray(given)
        if array.dtype.kind in "iubf":
            return array
    kind = type(given).__name__
    raise TypeError(f"{name} expects arrays, not {kind}; options must be keyword arguments")


def _discrete(name: str, position: int, given: Any, kinds: str) -> Array:
    """Return an array of integers or booleans."""
    if isinstance(given, np.ndarray | np.integer | list | tuple) or type(given) is int:
        array = asarray(given)
        if array.dtype.kind in kinds:
            return array
    expected = "booleans" if kinds == "b" else "integers"
    kind = getattr(given, "dtype", type(given).__name__)
    raise TypeError(f"{name} expects an array of {expected} as argument {position}, not {kind}")


def shapes(arrays: Sequence[Any]) -> str:
    """Return the shapes of some arrays, for an error message."""
    return ", ".join(str(np.shape(array)) for array in arrays)
