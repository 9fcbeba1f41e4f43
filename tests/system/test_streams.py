"""Streams of random numbers: pure functions of seed, name and step."""

import subprocess
import sys
import zlib
from itertools import combinations

from lmladder.system.streams import stream

import numpy as np
import pytest

SOME = [
    (seed, name, step)
    for seed in (0, 1, 2**31, 2**32, 2**40 + 7)
    for name in ("", "batches", "dropout", "weights", "mlp weights", "Gewichte für später")
    for step in (0, 1, 2, 10**6)
]


def first(seed: int, name: str, step: int) -> tuple[int, ...]:
    return tuple(stream(seed, name, step).integers(2**63, size=2).tolist())


def test_the_same_arguments_give_the_same_numbers() -> None:
    for seed, name, step in SOME:
        assert first(seed, name, step) == first(seed, name, step)


def test_streams_differ_by_seed_name_and_step() -> None:
    assert len({first(*each) for each in SOME}) == len(SOME)


def test_the_step_is_0_where_none_is_given() -> None:
    assert stream(3, "batches").random() == stream(3, "batches", 0).random()


def test_drawing_from_one_stream_leaves_another_alone() -> None:
    expected = stream(0, "dropout").random(4)
    busy, other = stream(0, "batches"), stream(0, "dropout")
    busy.random(1000)
    np.testing.assert_array_equal(other.random(4), expected)


def test_streams_are_not_correlated() -> None:
    named = [("batches", 0), ("batches", 1), ("dropout", 0), ("dropout", 1)]
    draws = [stream(0, name, step).standard_normal(20_000) for name, step in named]
    for one, other in combinations(draws, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


def test_numbers_are_the_same_in_every_process() -> None:
    program = (
        "from lmladder.system.streams import stream; print(stream(5, 'batches', 7).integers(10**9))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert int(output) == stream(5, "batches", 7).integers(10**9)


def test_the_numbers_are_those_of_every_earlier_version() -> None:
    # If this fails, results can no longer be compared with those of earlier versions.
    assert stream(0, "batches").integers(1000, size=6).tolist() == [519, 31, 174, 73, 388, 970]
    assert stream(1, "dropout", 3).integers(1000, size=6).tolist() == [246, 370, 397, 354, 710, 851]


@pytest.mark.parametrize(("seed", "step"), [(-1, 0), (0, -1)])
def test_negative_seeds_and_steps_are_refused(seed: int, step: int) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        stream(seed, "batches", step)


def test_a_seed_that_is_no_integer_is_refused() -> None:
    with pytest.raises(TypeError, match="integer"):
        stream(0.5, "batches")  # type: ignore[arg-type]


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (7, 123), (2**32, 2**40), (2**70, 1)])
def test_a_stream_is_what_numpy_makes_of_its_three_numbers(seed: int, step: int) -> None:
    words = [seed, zlib.crc32(b"sample"), step]
    expected = np.random.default_rng(words).random(5)
    np.testing.assert_array_equal(stream(seed, "sample", step).random(5), expected)
