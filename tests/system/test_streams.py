"""Streams of random numbers: pure functions of seed, name and step."""

from typing import Any

from lmladder.system.streams import stream

import pytest

SOME = [
    (seed, name, step)
    for seed in (0, 1, 2**31, 2**32, 2**40 + 7)
    for name in ("", "batches", "dropout", "weights", "mlp weights", "Gewichte für später")
    for step in (0, 1, 2, 10**6)
]


def first(seed: int, name: str, step: int) -> tuple[int, ...]:
    return tuple(stream(seed, name, step).integers(2**63, size=2).tolist())


def test_a_stream_is_a_function_of_seed_name_and_step() -> None:
    found = {each: first(*each) for each in SOME}
    assert len(set(found.values())) == len(SOME)
    assert {each: first(*each) for each in SOME} == found  # whatever was drawn before
    assert stream(3, "batches").random() == stream(3, "batches", 0).random()


def test_the_numbers_are_those_of_every_earlier_version() -> None:
    # If this fails, results can no longer be compared with those of earlier versions.
    assert stream(0, "batches").integers(1000, size=6).tolist() == [519, 31, 174, 73, 388, 970]
    assert stream(1, "dropout", 3).integers(1000, size=6).tolist() == [246, 370, 397, 354, 710, 851]


@pytest.mark.parametrize(("seed", "step"), [(-1, 0), (0, -1), (0.5, 0)])
def test_seed_and_step_must_be_integers_of_at_least_0(seed: Any, step: int) -> None:
    with pytest.raises((ValueError, TypeError), match=r"non-negative|integer"):
        stream(seed, "batches", step)
