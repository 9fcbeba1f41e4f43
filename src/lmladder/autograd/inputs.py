"""Converting the arguments of an op to arrays, and checking them."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from lmladder.system.arrays import Array
from lmladder.tracing import asarray, current

import numpy as np

EXPECTED = {
    "b": "an array of booleans",
    "iu": "an array of integers",
    "iubf": "arrays (options are keyword arguments)",
}


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
    given = [current(each) for each in inputs]
    arrays = [_array(name, each, discrete.get(i, "iubf")) for i, each in enumerate(given)]
    floats = {
        array.dtype
        for i, array in enumerate(arrays)
        if i not in discrete and isinstance(given[i], np.ndarray) and array.dtype.kind == "f"
    }
    if len(floats) > 1:
        mixed = " and ".join(sorted(map(str, floats)))
        raise TypeError(f"{name} of shapes {shapes(arrays)} mixes {mixed}; use astype")
    dtype = next(iter(floats), np.dtype(np.float64))
    kept = [i in discrete or array.dtype == dtype for i, array in enumerate(arrays)]
    return [each if keep else each.astype(dtype) for keep, each in zip(kept, arrays, strict=True)]


def _array(name: str, given: Any, kinds: str) -> Array:
    """Return an argument as an array, whose dtype is of one of the kinds."""
    if isinstance(given, list | tuple) and any(hasattr(each, "requires_grad") for each in given):
        raise TypeError(f"{name} expects Tensors as arguments, not in a {type(given).__name__}")
    if isinstance(given, Real | np.ndarray | list | tuple):
        array = given if isinstance(given, np.ndarray) else asarray(given)
        if array.dtype.kind in kinds:
            return array
    kind = getattr(given, "dtype", type(given).__name__)
    raise TypeError(f"{name} expects {EXPECTED[kinds]}, not {kind}")


def shapes(arrays: Sequence[Any]) -> str:
    """Return the shapes of some arrays, for an error message."""
    return ", ".join(str(np.shape(array)) for array in arrays)
