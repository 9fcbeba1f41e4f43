"""Training that is killed at random moments, and started again until it ends.

A run of the MLP stage with many checkpoints is killed by SIGKILL, half of the times at any moment
and half of the times while it writes a file, and started again until one run ends by itself. Its
results are compared with those of a run that was not interrupted.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = {
    "checkpoint.safetensors", "best.safetensors", "history.csv", "metrics.json",
    "block_losses.csv", "trained.json",
}  # fmt: skip
BESIDE = {"performance.json", "environment.json", ".hydra", "mlp.log"}
SETTINGS = (
    "experiment=smoke",
    f"data.path={ROOT / 'data/tales.yaml'}",
    "runtime.threads=1",
    "mlp.embedding_size=16",
    "mlp.hidden_sizes=[256]",
    "mlp.training.steps=160",
    "mlp.training.evaluate_every=2",
)


def start_stage(name, folder, cwd):
    """Start a stage that writes to `folder` under `cwd`; return its process."""
    command = [sys.executable, ROOT / f"stages/{name}.py", *SETTINGS, f"hydra.run.dir={folder}"]
    return subprocess.Popen(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def run_stage(name, folder, cwd):
    """Run a stage; RuntimeError if it fails."""
    process = start_stage(name, folder, cwd)
    _, stderr = process.communicate(timeout=120)
    if process.returncode:
        raise RuntimeError(f"status {process.returncode}: {stderr.decode().strip()}")


def kill(process, folder, delay, *, in_write):
    """Kill a process after `delay` seconds, or when after them it is writing a checkpoint.

    Returns what it was doing when it was killed, or nothing if it ended before.
    """
    due = time.monotonic() + delay
    while process.poll() is None:
        if time.monotonic() > due and (not in_write or is_writing(process, folder)):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0 if in_write else 0.001)
    process.communicate(timeout=120)
    if process.returncode != -signal.SIGKILL:
        return ""
    return "writing a checkpoint" if is_writing(process, folder) else "anything else"


def is_writing(process, folder):
    """Return whether a checkpoint of this process is not yet whole, or was not when it died."""
    return any(folder.glob(f".*.safetensors.{process.pid}.tmp"))


def crash_loop(cwd, kills, seed):
    """Kill runs `kills` times, by what they were doing; return that, and files that differ."""
    rng, killed, differences = random.Random(seed), Counter(), []
    run_stage("prepare", "outputs/prepare", cwd)
    started = time.monotonic()
    run_stage("mlp", "whole", cwd)
    seconds = time.monotonic() - started
    whole = {name: (cwd / "whole" / name).read_bytes() for name in RESULTS}
    runs = 0
    while killed.total() < kills:
        folder = cwd / f"run{runs}"
        runs += 1
        while killed.total() < kills:
            started = time.monotonic()
            process = start_stage("mlp", folder, cwd)
            delay, in_write = rng.uniform(0, seconds), rng.random() < 0.5
            if not (moment := kill(process, folder, delay, in_write=in_write)):
                seconds = min(seconds, time.monotonic() - started)  # the machine was busy
                break
            killed[moment] += 1
        run_stage("mlp", folder, cwd)
        for name, expected in whole.items():
            if (folder / name).read_bytes() != expected:
                differences.append(f"{folder.name}/{name}")
        left = {path.name for path in folder.iterdir()} - RESULTS - BESIDE
        differences += [f"{folder.name}/{name} is left" for name in sorted(left)]
    return killed, differences
