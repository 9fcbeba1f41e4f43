"""Training survives SIGKILL at any moment. KILLS=99 kills as often as that."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
KILLS = int(os.environ.get("KILLS", "3"))
KILLS_OF_A_RUN = 3
RESULTS = (
    *("checkpoint.safetensors", "best.safetensors"),
    *("history.csv", "metrics.json", "scores.json"),
)
SETTINGS = (  # of a run with many checkpoints
    "experiment=smoke",
    f"data.path={ROOT / 'data/tales.yaml'}",
    "runtime.threads=1",
    "mlp.embedding_size=16",
    "mlp.hidden_sizes=[256]",
    "mlp.training.steps=100",
    "mlp.training.evaluate_every=2",
)


def stage_command(name, folder):
    return [sys.executable, ROOT / f"stages/{name}.py", *SETTINGS, f"hydra.run.dir={folder}"]


def run_stage(name, folder, cwd):
    subprocess.run(
        stage_command(name, folder), cwd=cwd, env=ENVIRONMENT, check=True, capture_output=True
    )


def kill_while_training(folder, cwd, delay, *, in_write):
    """Start the MLP stage; kill it after `delay` seconds, or at its next write of a checkpoint.

    Returns whether it was killed while it wrote a checkpoint.
    """
    process = subprocess.Popen(
        stage_command("mlp", folder), cwd=cwd, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )

    def is_writing():
        return any(cwd.rglob(".*.safetensors.*.tmp"))

    due = time.monotonic() + delay
    while process.poll() is None and (time.monotonic() < due or (in_write and not is_writing())):
        time.sleep(0 if in_write else 0.001)
    process.kill()
    process.wait()
    return is_writing()


@pytest.mark.slow
def test_training_that_is_killed_at_random_moments_ends_with_the_same_bytes(tmp_path):
    run_stage("prepare", "outputs/prepare", tmp_path)
    started = time.monotonic()
    run_stage("mlp", "whole", tmp_path)
    seconds = time.monotonic() - started
    draw, in_writes = random.Random(1), 0
    for run in range(KILLS // KILLS_OF_A_RUN):
        for _ in range(KILLS_OF_A_RUN):
            delay, in_write = draw.uniform(0, 0.8 * seconds), draw.random() < 0.5
            in_writes += kill_while_training(f"{run}", tmp_path, delay, in_write=in_write)
        run_stage("mlp", f"{run}", tmp_path)
        for name in RESULTS:
            expected = (tmp_path / "whole" / name).read_bytes()
            assert (tmp_path / f"{run}" / name).read_bytes() == expected, name
        assert set(os.listdir(tmp_path / f"{run}")) == set(os.listdir(tmp_path / "whole"))
    assert in_writes > 0
