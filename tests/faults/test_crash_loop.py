"""Training survives SIGKILL at any moment. CRASH_KILLS=100 kills as often as that."""

import os

from tests.faults.crash_loop import crash_loop

import pytest


@pytest.mark.slow
def test_training_that_is_killed_at_random_moments_ends_with_the_same_bytes(tmp_path):
    killed, differences = crash_loop(tmp_path, int(os.environ.get("CRASH_KILLS", "12")), seed=1)
    assert differences == []
    assert killed["writing a checkpoint"] > 0
    assert killed["anything else"] > 0
