"""A sweep to compare, and the command that does it."""

from functools import partial

from tests.experiments.folders import write_run

import pytest


@pytest.fixture
def sweep(tmp_path):
    """Three depths of three seeds: 2 and 3 layers are equally good, 1 is worse.

    No seed is better for all depths.
    """
    for n_layer, nats in ((1, 0.9), (2, 0.5005), (3, 0.5)):
        for seed in range(3):
            shift = 0.01 * ((seed + n_layer) % 3 - 1)
            folder = tmp_path / f"sweep/transformer.n_layer={n_layer}/seed={seed}"
            write_run(folder, nats + shift, transformer__n_layer=n_layer, seed=seed)
    return tmp_path / "sweep"


@pytest.fixture
def command(lmladder):
    """`lmladder compare` in this process: status, stdout, stderr."""
    return partial(lmladder, "compare")
