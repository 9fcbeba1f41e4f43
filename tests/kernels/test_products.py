"""Products of float32 matrices: every layout has the bits of the definition, on every machine."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path

from lmladder import kernels
from lmladder.kernels import products
from lmladder.system.arrays import FloatArray
from lmladder.system.streams import stream

import numpy as np
import pytest

# (m, k, n): one of each is less than, equal to and more than a vector, a tile, a block or a part.
SIZES = [
    (1, 1, 1),
    (5, 3, 7),
    (6, 256, 16),
    (8, 257, 17),
    (13, 31, 33),
    (97, 20, 65),
    (3, 513, 100),
]
WIDE = (40, 9, 1100)  # more than a block of columns
TILES = ((6, 2, 8), (12, 2, 16), (8, 3, 4))
# Of all products of `digest`, as they were first computed, on x86-64.
DIGEST = "2e679149ea1f04b585b3886356b7199911f769828aaaf68642bd5efca6c5989c"


def numbers(name: str, *shape: int) -> FloatArray:
    """Return multiples of 2 ** -20 in [-1, 1), which are the same on every machine."""
    drawn = stream(0, name).integers(-(2**20), 2**20, shape)
    return drawn.astype(np.float32) * np.float32(2.0**-20)


def layouts(m: int, k: int, n: int) -> Iterator[tuple[FloatArray, FloatArray]]:
    a, b = numbers("a", m, k), numbers("b", k, n)
    yield a, b
    yield a, np.asfortranarray(b)
    yield np.asfortranarray(a), b
    yield np.repeat(a, 2, axis=1)[:, ::2], np.repeat(b, 3, axis=1)[:, ::3]


def product(a: FloatArray, b: FloatArray, bias: FloatArray | None = None) -> FloatArray:
    out = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
    products.multiply(a, b, out, bias)
    return out


def definition(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return a @ b of `numbers`: each element is a sum of chains of 256 fused multiply-adds.

    Those of numbers with few digits are exact in float64, then rounded once.
    """
    chains = []
    for start in range(0, a.shape[1], 256):
        total = np.zeros((len(a), b.shape[1]), np.float32)
        for k in range(start, min(start + 256, a.shape[1])):
            total = (a[:, k, None].astype(np.float64) * b[k] + total).astype(np.float32)
        chains.append(total)
    return reduce(add, chains)


def digest() -> str:
    """Return the hash of many products."""
    total = hashlib.sha256()
    for size in (*SIZES, WIDE):
        for a, b in layouts(*size):
            total.update(product(a, b, numbers("bias", size[2])).tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("size", [*SIZES, WIDE], ids=str)
def test_every_layout_has_the_bits_of_the_definition(size: tuple[int, int, int]) -> None:
    bias = numbers("bias", size[2])
    for a, b in layouts(*size):
        for added in (None, bias):
            expected = definition(a, b)
            if added is not None:
                expected += added
            assert product(a, b, added).tobytes() == expected.tobytes()


def test_leading_axes_broadcast_and_any_layout_is_written() -> None:
    a, b = numbers("a", 3, 1, 5, 7), numbers("b", 2, 7, 9)
    expected = np.stack([np.stack([product(each[0], other) for other in b]) for each in a])
    for shape in ((3, 2, 5, 9), (9, 5, 2, 3)):
        out = np.empty(shape, np.float32)
        out = out if shape[0] == 3 else out.T
        products.multiply(a, b, out)
        np.testing.assert_array_equal(out, expected)


def test_more_axes_than_four_and_no_matrices_that_do_not_fit() -> None:
    a, b = numbers("a", 2, 3, 2, 5, 7), numbers("b", 3, 1, 7, 9)
    found = kernels.matmul(a, b)
    for index in np.ndindex(2, 3, 2):
        np.testing.assert_array_equal(found[index], product(a[index], b[index[1], 0]))
    for shapes in [(3, 4), (9, 5)], [(2, 3, 4), (4,)], [(4,), (2, 4, 3)], [(3, 4), (4, 3), (1,)]:
        arrays = [numbers("x", *shape) for shape in shapes]
        with pytest.raises(
            ValueError, match=rf"^matmul expects .*, got {re.escape(str(shapes[0]))}"
        ):
            kernels.matmul(*arrays)


def test_empty_matrices_give_the_bias_or_nothing() -> None:
    bias = numbers("bias", 3)
    assert (product(numbers("a", 2, 0), numbers("b", 0, 3), bias) == bias).all()
    assert (product(numbers("a", 2, 0), numbers("b", 0, 3)) == 0).all()
    assert product(numbers("a", 0, 4), numbers("b", 4, 3), bias).shape == (0, 3)


def test_products_have_the_bits_of_other_machines() -> None:
    assert digest() == DIGEST


@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_tiles_of_every_shape_compute_the_same_bits(
    tile: tuple[int, int, int], tmp_path: Path
) -> None:
    program = (
        f"from lmladder.kernels import compiling; compiling.TILE = {tile};"
        "from lmladder.kernels import products; from tests.kernels import test_products;"
        "assert (products.ROWS, products.VECTORS, products.LANES) == compiling.TILE;"
        "print(test_products.digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == DIGEST
