"""Training survives SIGKILL at any moment; `crash_loop.py` by hand kills as often as one likes."""

from tests.faults.crash_loop import crash_loop

import pytest


@pytest.mark.slow
def test_training_that_is_killed_at_random_moments_ends_with_the_same_bytes() -> None:
    tally = crash_loop(kills=30, seed=1)
    assert tally.differences == []
    assert tally.kills["in a checkpoint's write"] > 0
    assert tally.kills["between writes"] > 0
