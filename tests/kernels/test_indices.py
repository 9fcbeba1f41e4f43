"""Integers that name rows."""

from typing import Any

from lmladder import kernels

import numpy as np
import pytest

TABLE = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_rows_are_fetched_for_integers_of_any_type_and_shape(dtype: Any, shape: Any) -> None:
    ids = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    assert np.array_equal(kernels.gather_rows(TABLE, ids), TABLE[ids])
    assert np.array_equal(kernels.gather_rows(TABLE, ids.T), TABLE[ids.T])


@pytest.mark.parametrize(("ids", "low", "high"), [([0, 6], 0, 6), ([-1, 2], -1, 2)])
def test_a_number_past_the_table_is_named(ids: list[int], low: int, high: int) -> None:
    with pytest.raises(IndexError, match=rf"^ids range from {low} to {high}, not in \[0, 6\)$"):
        kernels.gather_rows(TABLE, np.array(ids))
    with pytest.raises(IndexError, match=rf"^ids range from {low} to {high}, not in \[0, 6\)$"):
        kernels.scatter_rows(np.ones((2, 3)), np.array(ids), 6)
    with pytest.raises(IndexError, match=rf"^targets range from {low} to {high}, not"):
        kernels.cross_entropy(np.zeros((2, 6)), np.array(ids))


def test_rows_are_padded_in_front() -> None:
    rows = np.array([[1, 2], [3, 4]], np.uint8)
    padded = kernels.pad_front(rows, 2, 9)
    assert padded.dtype == np.int64
    assert padded.tolist() == [[9, 9, 1, 2], [9, 9, 3, 4]]
    assert kernels.pad_front(rows, 0, 9).tolist() == rows.tolist()
