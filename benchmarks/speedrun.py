"""The time to the loss of nanoGPT's recipe for a CPU, in PyTorch and with recipes of ours.

    python benchmarks/speedrun.py [--to TARGET ...] [--seeds 0 1 2] [--output FILE.json]

trains on the first 90% of Tiny Shakespeare, in turns, and each run in a process of its own:

    torch, compile      nanoGPT's recipe (engines/nanogpt.py), eager and compiled
    to TARGET           a Transformer by lmladder's own training, by the recipe of a target

One scorer scores all weights: every token of the last 10% once, each in a later window with at
least half a context. The target of the recipe `pytorch` is the mean loss of the faster PyTorch
over all seeds; other recipes are named after theirs. A recipe is a run of a fixed number of steps;
it reaches its target if its last loss is at or below it with each seed.

    train s, CPU s    of all training steps: wall time, and process time over all threads
    warm-up s         of compilation and some discarded steps before; not in train s
    score s           of the exact score after training; not in train s
    load              load average of the last minute before and after training
    others_cores      cores that other programs kept busy during training

--output writes all results to FILE.json and the tables to FILE.md, after every run.
"""

import json
import os
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import compare, engines, measure
from benchmarks.measure import Facts, UnavailableError

if TYPE_CHECKING:
    from lmladder.config import Config

PEERS = ("torch", "compile")
PEER_RECIPE = "experiment=nanogpt_cpu"  # its model and its rules of scoring
LARGER = [
    "experiment=speedrun",
    "transformer.n_layer=4",
    "transformer.context_length=1024",
    "transformer.training.batch_size=2",
    "transformer.bigram_embeddings=false",
    "transformer.pointer=64",
]
RECIPES = {  # overrides of the configuration, by target
    "pytorch": ["experiment=speedrun"],
    "1.60": [*LARGER, "transformer.training.steps=180"],
    "1.50": [*LARGER, "transformer.training.steps=310"],
    "1.4697": [*LARGER, "transformer.training.steps=380"],  # the loss of nanoGPT on a GPU
}
MIN_CONTEXT = 64
WARM_UP = 20  # discarded steps
TOLERANCE = 1e-4  # relative, between the losses of the same weights in PyTorch and in lmladder
COLUMNS = [
    *("run", "seed", "steps", "parameters", "loss"),
    *("train s", "CPU s", "warm-up s", "score s", "load", "others_cores"),
]


class Clock:
    """The clock of training, and what else the machine did meanwhile."""

    def start(self) -> None:
        self.load, self.others = os.getloadavg()[0], measure.OtherPrograms()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stop(self) -> Facts:
        return {
            "train s": round(time.perf_counter() - self.wall, 3),
            "CPU s": round(time.process_time() - self.cpu, 3),
            "load": f"{self.load:.2f}, {os.getloadavg()[0]:.2f}",
            "others_cores": self.others.cores(),
        }


# ------------------------------------------------------------------- one run, alone in a process


def train_peer(job: Facts) -> Facts:
    """Train by nanoGPT's recipe; write the weights to the file `out`, by lmladder's names."""
    version = engines.load(job["name"], job["threads"]).version
    from benchmarks.engines import nanogpt

    import numpy as np
    import torch

    def tokens(split: str) -> Any:
        return torch.from_numpy(np.load(f"{job['folder']}/prepare/{split}.npy").astype(np.int64))

    torch.manual_seed(job["seed"])
    model, clock = nanogpt.Model(job["vocabulary"]), Clock()
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    take_steps = nanogpt.trainer(model, tokens("train"), compiled=job["name"] == "compile")
    warm_up = measure.timed(lambda: take_steps(WARM_UP))[1]
    model.load_state_dict(initial)
    steps = job["steps"] or nanogpt.STEPS
    clock.start()
    take_steps(steps)
    facts = clock.stop()
    arrays: dict[str, Any] = dict(model.weights())
    np.savez(job["out"], **arrays)
    with torch.inference_mode():
        first = model.loss(tokens("val")[None, : nanogpt.CONTEXT + 1]).item()
    return {**facts, "steps": steps, "warm-up s": warm_up, "version": version, "first": first}


def train_ours(job: Facts) -> Facts:
    """Train the Transformer of a recipe by lmladder's loop, which writes to the folder `out`."""
    config = configuration([*job["recipe"], f"seed={job['seed']}"])
    rung = config.transformer
    steps = job["steps"] or rung.training.steps
    if rung.context_length < MIN_CONTEXT:
        context = f"transformer.context_length={rung.context_length}"
        raise UnavailableError(f"{context} must be at least {MIN_CONTEXT}")
    version = engines.load("lmladder", job["threads"]).version
    from lmladder.pipeline import open_text, rung_named
    from lmladder.system.files import make_folder
    from lmladder.training import loop

    text = open_text(config, Path(job["folder"]))
    clock, evaluate = Clock(), loop._evaluate
    evaluations: list[Facts] = []  # one before the first step, and one after the last

    def evaluate_off_the_clock(*arguments: Any) -> Any:
        evaluations.append(clock.stop() if evaluations else {})
        state = evaluate(*arguments)
        clock.start()
        return state

    def run(steps: int, out: str) -> None:
        training = rung.training.model_copy(update={"steps": steps, "evaluate_every": steps})
        chosen = {"transformer": rung.model_copy(update={"training": training})}
        make_folder(Path(out))
        shorter = config.model_copy(update=chosen)
        rung_named("transformer", shorter).fit(shorter, text, Path(out))

    warm_up = measure.timed(lambda: run(WARM_UP, f"{job['out']}-warm-up"))[1]
    with patch.object(loop, "_evaluate", evaluate_off_the_clock):
        run(steps, job["out"])
    _, facts = evaluations
    return {**facts, "steps": steps, "warm-up s": warm_up, "version": version}


def configuration(overrides: Sequence[str]) -> "Config":
    """Compose conf/ with overrides."""
    from lmladder.config.composing import composed, validated

    return validated(composed(measure.FOLDER.parent / "conf", overrides))


# ------------------------------------------------------------------- all runs


class Session:
    """The prepared text in a folder, and the runs on it."""

    def __init__(self, folder: Path, options: Namespace):
        from lmladder.data import Prepared
        from lmladder.pipeline import prepare_text

        self.folder, self.options = folder, options
        self.config = configuration([PEER_RECIPE, *options.changes])
        prepare_text(self.config, folder / "prepare")
        self.prepared = Prepared.open(folder / "prepare")

    def run(self, name: str, seed: int) -> Facts:
        """Train and score a PyTorch model, or the model of a recipe."""
        from lmladder.evaluation import token_nll
        from lmladder.models import restore_models
        from lmladder.training.checkpoint import LATEST, Checkpoint

        job: Facts = {"name": name, "seed": seed, "folder": str(self.folder)}
        job |= {"threads": self.options.threads, "steps": self.options.steps}
        job["out"] = f"{self.folder}/{name}-{seed}.npz"
        if name in PEERS:
            job["vocabulary"] = self.prepared.corpus.vocabulary_size
        else:
            job["recipe"] = [*RECIPES[name], *self.options.changes]
        (facts,) = measure.in_fresh_process("speedrun.py", "--job", json.dumps(job))
        if name in PEERS:
            model = self._peer(job, facts.pop("first"))
        else:
            (model,) = restore_models(Checkpoint.load(Path(job["out"]) / LATEST)).values()
        how, text = self.config.evaluate, (self.prepared.val, self.prepared.train)
        rules: Facts = {"min_context": how.min_context, "batch_tokens": how.batch_tokens}
        nats, seconds = measure.timed(lambda: token_nll(model, *text, **rules))
        facts |= {"loss": nats.mean(), "score s": seconds, "parameters": model.n_parameters}
        return {"run": name if name in PEERS else f"to {name}", "seed": seed, **facts}

    def _peer(self, job: Facts, loss: float) -> Any:
        """Return PyTorch's weights in our model, whose `loss` of the first tokens is the same."""
        from lmladder.models.transformer import Transformer

        import numpy as np

        rng = np.random.default_rng(0)
        model = Transformer(self.config.transformer, job["vocabulary"], rng=rng)
        with np.load(job["out"]) as arrays:
            model.load(arrays)
        ours = model.nll(self.prepared.val[None, : model.context_length + 1]).mean()
        if not abs(ours - loss) < TOLERANCE * loss:
            raise RuntimeError(f"{job['name']}: loss {loss} in PyTorch, {ours} in lmladder")
        return model


def targets(runs: Sequence[Facts]) -> list[Facts]:
    """Return a row for each recipe: its target, and whether and when it was reached."""
    by_run: dict[str, list[Facts]] = {}
    for run in runs:
        by_run.setdefault(run["run"], []).append(run)

    def mean(name: str, key: str) -> float:
        return statistics.fmean(run[key] for run in by_run[name])

    peers = [name for name in PEERS if name in by_run]
    peer = min(peers, key=lambda name: mean(name, "train s"), default=None)
    rows = []
    for name, each in by_run.items():
        goal = name.removeprefix("to ")
        if name in peers or (goal == "pytorch" and not peer):
            continue
        target = mean(peer, "loss") if goal == "pytorch" and peer else float(goal)
        rows.append(
            {
                "target": f"{goal} ({peer})" if goal == "pytorch" else goal,
                "nats/token": f"{target:.4f}",
                "losses": ", ".join(f"{run['loss']:.4f}" for run in each),
                "reached": "yes" if all(run["loss"] <= target for run in each) else "no",
                "seconds": ", ".join(f"{run['train s']:.1f}" for run in each),
                "mean s": mean(name, "train s"),
                "of PyTorch's": mean(name, "train s") / mean(peer, "train s") if peer else None,
            }
        )
    return rows


def report(runs: Sequence[Facts], threads: int, left_out: Sequence[str]) -> str:
    """Return the table of all runs, that of the targets, and what limits them."""
    shown = [{key: run[key] for key in COLUMNS} for run in runs]
    tables = [measure.markdown(table) for table in (shown, targets(runs)) if table]
    versions = {f"{run['run']} {run['version']}" for run in runs}
    lines = [f"Threads: {threads}. Versions: {', '.join(sorted(versions))}."]
    lines += [f"Left out: {reason}" for reason in left_out]
    if noisy := compare.spoilt({f"{run['run']} {run['seed']}": run for run in runs}):
        lines.append(f"NOT TO BE TRUSTED, other programs were busy: {', '.join(noisy)}.")
    return "\n".join([*tables, *lines])


def run_all(session: Session, options: Namespace) -> str:
    """Return the report of all runs; those of a seed follow one another."""
    runs: list[Facts] = []
    left_out: dict[str, str] = {}
    text = ""
    for seed in options.seeds:
        for name in (*options.peers, *options.to):
            if name in left_out:
                continue
            print(f"seed {seed}: {name}", file=sys.stderr, flush=True)
            try:
                runs.append(session.run(name, seed))
            except (UnavailableError, RuntimeError) as error:
                if name != "compile":  # it requires a C++ compiler
                    raise
                left_out[name] = f"compile: {str(error).strip().splitlines()[-1]}"
            text = report(runs, options.threads, list(left_out.values()))
            if options.output:
                facts = {"threads": options.threads, "left_out": left_out, "runs": runs}
                options.output.write_text(json.dumps(facts, indent=1) + "\n")
                options.output.with_suffix(".md").write_text(text + "\n")
    return text


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--to", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of every run, for a trial")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    parser.add_argument("--job", type=json.loads, help="one run, in this process")
    options = parser.parse_args()
    if options.job and "recipe" not in options.job:  # without lmladder
        print(json.dumps(train_peer(options.job)))
        return
    from lmladder.system.errors import LadderError

    try:
        if options.job:
            print(json.dumps(train_ours(options.job)))
            return
        with TemporaryDirectory() as folder:
            print(run_all(Session(Path(folder), options), options))
    except LadderError as error:
        raise UnavailableError(str(error)) from None


if __name__ == "__main__":
    measure.run(main)
