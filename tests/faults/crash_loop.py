"""Training that is killed at random moments, and started again until it ends with the same bytes.

    python tests/faults/crash_loop.py --kills 100

A run of the MLP stage with many checkpoints is killed by SIGKILL, half of the times at any moment
and half of the times in the midst of writing a file, and started again until one run ends by
itself. Then its results are compared with those of a run that nothing has hindered, and the next
one begins, until there were as many kills as asked for.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = (
    "checkpoint.safetensors",
    "best.safetensors",
    "history.csv",
    "metrics.json",
    "block_losses.csv",
    "samples.txt",
)
SETTINGS = (
    "experiment=smoke",
    f"data.path={ROOT / 'data/tales.yaml'}",
    "runtime.threads=1",
    "mlp.embedding_size=16",
    "mlp.hidden_sizes=[256]",
    "mlp.training.steps=160",
    "mlp.training.evaluate_every=2",
)
RUN_SECONDS = 120  # far more than a run takes


@dataclass
class Tally:
    """What has happened so far; `kills` by what was under way."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {what}" for what, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({kinds}) in {self.runs} runs; "
            f"{len(self.differences)} differing files {self.differences or ''}".rstrip()
        )


def stage(name: str, folder: Path, cwd: Path) -> subprocess.Popen[bytes]:
    """A stage that has just been started, in a folder of results under `cwd`."""
    command = [sys.executable, ROOT / f"stages/{name}.py", *SETTINGS, f"hydra.run.dir={folder}"]
    return subprocess.Popen(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait until it has ended; RuntimeError if it failed by itself."""
    _, stderr = process.communicate(timeout=RUN_SECONDS)
    if process.returncode:
        raise RuntimeError(f"status {process.returncode}: {stderr.decode().strip()}")


def kill(process: subprocess.Popen[bytes], folder: Path, delay: float, *, in_write: bool) -> str:
    """Kill a process after `delay` seconds, or when after them it is writing a checkpoint.

    Returns what it was at when it died, or nothing if it has ended before.
    """
    due = time.monotonic() + delay
    while process.poll() is None:
        if time.monotonic() > due and (not in_write or half_written(process, folder)):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0 if in_write else 0.001)
    process.communicate(timeout=RUN_SECONDS)
    if process.returncode != -signal.SIGKILL:
        return ""
    if half_written(process, folder):
        return "in a checkpoint's write"
    begun = (folder / "unfinished.safetensors").exists()
    return "between writes" if begun else "before the first checkpoint"


def half_written(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Whether a checkpoint of this process is not yet whole, or was not when it died."""
    return any(folder.glob(f".*.safetensors.{process.pid}.tmp"))


def crash_loop(kills: int, seed: int) -> Tally:
    """Kill until there were so many; compare what each run that ended has left."""
    rng, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as name:
        cwd = Path(name)
        finish(stage("prepare", Path("outputs/prepare"), cwd))
        started = time.monotonic()
        finish(stage("mlp", Path("whole"), cwd))
        seconds = time.monotonic() - started
        whole = {each: (cwd / "whole" / each).read_bytes() for each in RESULTS}
        print(f"a run that nothing hinders takes {seconds:.1f} s", flush=True)
        while tally.kills.total() < kills:
            folder = cwd / f"run {tally.runs}"
            tally.runs += 1
            while tally.kills.total() < kills:
                started = time.monotonic()
                process = stage("mlp", folder, cwd)
                delay, in_write = rng.uniform(0, seconds), rng.random() < 0.5
                died = kill(process, folder, delay, in_write=in_write)
                if not died:
                    seconds = min(seconds, time.monotonic() - started)  # the machine was busy
                    break
                tally.kills[died] += 1
            finish(stage("mlp", folder, cwd))
            tally.differences += [
                f"{folder.name}/{each}"
                for each, expected in whole.items()
                if (folder / each).read_bytes() != expected
            ]
            left = {path.name for path in folder.iterdir()} - {".hydra", "mlp.log"}
            extra = left - {*RESULTS, "performance.json", "environment.json", "trained.json"}
            tally.differences += [f"{folder.name}/{each} is left" for each in sorted(extra)]
            print(tally, flush=True)
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(arguments)
    return 1 if crash_loop(options.kills, options.seed).differences else 0


if __name__ == "__main__":
    sys.exit(main())
