from lmladder.errors import InputError
from lmladder.rng import stream
from lmladder.text import sample_rows

import numpy as np
import pytest


def rng():
    return stream(0, "batches")


def test_every_row_is_a_run_of_the_text():
    tokens = np.arange(1000, dtype=np.uint16)
    rows = sample_rows(tokens, rows=50, length=7, rng=rng())
    assert rows.shape == (50, 7)
    assert rows.dtype == np.int64
    assert (np.diff(rows, axis=1) == 1).all()


def test_every_place_can_be_drawn_even_the_last():
    rows = sample_rows(np.arange(5, dtype=np.uint8), rows=200, length=3, rng=rng())
    assert set(rows[:, 0].tolist()) == {0, 1, 2}


def test_a_text_of_one_row_gives_that_row():
    rows = sample_rows(np.array([4, 5, 6], dtype=np.uint8), rows=2, length=3, rng=rng())
    assert rows.tolist() == [[4, 5, 6], [4, 5, 6]]


def test_the_same_stream_draws_the_same_rows_from_a_memory_map(tmp_path):
    tokens = np.arange(1000, dtype=np.uint32)
    np.save(tmp_path / "tokens.npy", tokens)
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    rows = sample_rows(mapped, rows=8, length=16, rng=rng())
    assert type(rows) is np.ndarray
    np.testing.assert_array_equal(rows, sample_rows(tokens, rows=8, length=16, rng=rng()))


@pytest.mark.parametrize("count", [0, 9])
def test_a_text_shorter_than_a_row_is_refused(count):
    with pytest.raises(InputError, match=f"a text of {count} tokens is shorter than one row of 10"):
        sample_rows(np.zeros(count, np.uint8), rows=1, length=10, rng=rng())


@pytest.mark.parametrize(("rows", "length"), [(-1, 3), (1, 0)])
def test_impossible_shapes_are_a_mistake_of_the_caller(rows, length):
    with pytest.raises(ValueError, match="cannot draw"):
        sample_rows(np.zeros(9, np.uint8), rows=rows, length=length, rng=rng())
