"""Train the ladder of each preset in conf/experiment once, and record the results.

    python benchmarks/presets.py microgpt_x nanogpt_cpu
    python benchmarks/presets.py tinylm --set transformer.training.steps=1000

These run whole pipelines, each in a clone of its own of the last commit, and record their results
in presets.json beside this file. `readme.py` makes the table in docs/architectures.md from it.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure

import yaml

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_suffix(".json")


def recorded() -> dict[str, Any]:
    """What is recorded of each preset, by its name."""
    found: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return found


def run(preset: str, changes: Sequence[str]) -> dict[str, Any]:
    """Train a preset's ladder in a fresh clone; what there is to say of it."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "lmladder"
        environment = {**os.environ, "PYTHONPATH": str(clone / "src")}

        def call(*command: str, cwd: Path = clone) -> None:
            subprocess.run(command, cwd=cwd, env=environment, check=True)

        call("git", "clone", "--quiet", str(ROOT), str(clone), cwd=ROOT)
        call(sys.executable, "stages/compose.py", f"experiment={preset}", *changes)
        call(sys.executable, "-m", "dvc", "repro")
        return facts(clone, changes)


def facts(folder: Path, changes: Sequence[str]) -> dict[str, Any]:
    """What there is to say of the ladder in a checkout."""
    with open(folder / "outputs/evaluate/perplexity.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    params = yaml.safe_load((folder / "params.yaml").read_text())
    keys = ("model", "nats_per_token", "perplexity", "bits_per_byte", "parameters", "steps")
    return {
        "changes": list(changes),
        "data": Path(params["data"]["path"]).stem,
        "tokenizer": params["tokenizer"]["name"],
        "mixtures": list(params["mixtures"]),
        "steps": {rung: params[rung]["training"]["steps"] for rung in ("mlp", "transformer")},
        "val": [{key: row[key] for key in keys} for row in rows],
    }


def rows() -> list[measure.Facts]:
    """One row for each preset's Transformer, the best rung besides it, and what it took.

    A mixture of a preset is not among the other rungs, as it contains the Transformer.
    """
    lines = []
    for preset, found in sorted(recorded().items()):
        scores = {row["model"]: row for row in found["val"]}
        ours = scores.pop("transformer")
        for name in ("oracle", *found.get("mixtures", ())):
            scores.pop(name, None)
        name, other = min(scores.items(), key=lambda item: float(item[1]["nats_per_token"]))
        command = " ".join([f"experiment={preset}", *found["changes"]])
        lines.append(
            {
                "preset": f"`{preset}`",
                "`python stages/compose.py`": f"`{command}`",
                "text": found["data"],
                "tokens": found["tokenizer"],
                "parameters": f"{int(ours['parameters']):,}",
                "steps": f"{int(ours['steps']):,}",
                "nats/token": f"{float(ours['nats_per_token']):.4f}",
                "perplexity": f"{float(ours['perplexity']):.4g}",
                "bits/byte": f"{float(ours['bits_per_byte']):.4f}",
                "the best other rung": f"{name} {float(other['bits_per_byte']):.4f}",
            }
        )
    return lines


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("presets", nargs="*", metavar="PRESET")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="changes")
    arguments = parser.parse_args()
    for preset in arguments.presets:
        found = run(preset, arguments.changes)
        RECORD.write_text(
            json.dumps({**recorded(), preset: found}, indent=1, sort_keys=True) + "\n"
        )


if __name__ == "__main__":
    measure.run(main)
