"""A sweep to compare, and the command that does it."""

import sys
from typing import NamedTuple

from lmladder.cli.main import main
from tests.experiments.folders import block_scores, write_run

import pytest


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def sweep(tmp_path):
    """Three depths of three seeds: 2 and 3 layers are equally good, 1 is worse.

    No seed is better for all depths.
    """
    for n_layer, nats in ((1, 0.9), (2, 0.5005), (3, 0.5)):
        for seed in range(3):
            shift = 0.01 * ((seed + n_layer) % 3 - 1)
            folder = tmp_path / f"sweep/transformer.n_layer={n_layer}/seed={seed}"
            made = block_scores(nats + shift, f"{n_layer} {seed}")
            write_run(folder, nats + shift, blocks=made, transformer__n_layer=n_layer, seed=seed)
    return tmp_path / "sweep"


@pytest.fixture
def command(monkeypatch, capsys):
    """`lmladder compare` in this process: status, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmladder", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Done(end.value.code, *capsys.readouterr())

    return run
