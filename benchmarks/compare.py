"""Training steps of all engines beside each other.

    python benchmarks/compare.py [--configs nano small] [--engines lmladder torch] [--rounds 5]

runs train_step.py for each engine in turn, several rounds of it, each run in a process of its own,
so that a noisy minute hits all engines. Then it prints a Markdown table:

    ms       the least of all rounds
    ratio    lmladder's ms over PyTorch's (at `micro` also over JAX's), with the target in brackets
    MiB      peak memory, the least of all rounds; see train_step.py
    GFLOP/s  of lmladder's matrix products

With --json FILE all that was measured is added to a file; `--from FILE` prints the table of
its content and measures nothing. `readme.py` puts that of compare.jsonl into docs/performance.md.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.engines import ENGINES
from benchmarks.measure import Facts, UnavailableError
from benchmarks.shapes import SIZES

# Least ratios to named engines.
TARGETS = {"micro": {"torch": 0.18, "jax": 1.2}, "seed0": {"torch": 0.62}}
ELSE_TARGETS = {"torch": 0.75}
RATE = "gflops_per_second"
LOSS_TOLERANCE = 1e-4
RECORD = Path(__file__).with_suffix(".jsonl")
QUIET = 0.2  # cores that other programs may use without spoiling a run; see train_step.py

Runs: TypeAlias = dict[tuple[str, str], list[Facts]]  # by config and engine


def least(runs: list[Facts], key: str) -> float | None:
    """The least of a key's numbers, None if there are none."""
    return min((run[key] for run in runs if run[key] is not None), default=None)


def ratios(config: str, milliseconds: dict[str, float]) -> str:
    """Ratios of lmladder to its peers where there are targets: "2.08 of torch (0.8)"."""
    if "lmladder" not in milliseconds:
        return "-"
    ratios = [
        f"{milliseconds['lmladder'] / milliseconds[peer]:.2f} of {peer} ({target})"
        for peer, target in TARGETS.get(config, ELSE_TARGETS).items()
        if peer in milliseconds
    ]
    return ", ".join(ratios) or "-"


def row(config: str, runs: Runs, engines: list[str]) -> Facts:
    """A config's line of the table."""
    of = {engine: runs[config, engine] for engine in engines}
    milliseconds = {
        engine: ms for engine in engines if (ms := least(of[engine], "min_ms")) is not None
    }
    return {
        "config": config,
        **{f"{engine} ms": milliseconds.get(engine) for engine in engines},
        "ratio (target)": ratios(config, milliseconds),
        **{f"{engine} MiB": least(of[engine], "peak_mib") for engine in engines},
        "GFLOP/s": max((run[RATE] for run in of.get("lmladder", [])), default=None),
    }


def spoilt(best: dict[str, Facts]) -> list[str]:
    """Names of the runs, each the best of its kind, in which other programs were busy."""
    return [
        f"{name} ({run['others_cores']} cores)"
        for name, run in best.items()
        if run["others_cores"] is not None and run["others_cores"] > QUIET
    ]


def disagreement(config: str, runs: Runs) -> float:
    """Largest relative distance between losses of engines after the same steps."""
    losses = [run["losses"] for (name, _), each in runs.items() if name == config for run in each]
    return max(
        ((max(at) - min(at)) / abs(min(at)) for at in zip(*losses, strict=True)), default=0.0
    )


@dataclass
class Collection:
    """Return the results of all rounds.

    Attributes
    ----------
    runs : of train_step.py
    missing : why an engine was left out
    """

    runs: Runs = field(default_factory=lambda: defaultdict(list))
    missing: dict[str, str] = field(default_factory=dict)

    def add_round(
        self, configs: list[str], engines: list[str], *, threads: int, seconds: float
    ) -> Iterator[Facts]:
        """Run all once; yields each result when it is there."""
        for config in configs:
            for engine in engines:
                if engine in self.missing:
                    continue
                options = ["--config", config, "--engine", engine]
                options += ["--threads", str(threads), "--seconds", str(seconds)]
                try:
                    (facts,) = measure.in_fresh_process("train_step.py", *options)
                except UnavailableError as error:
                    self.missing[engine] = str(error)
                    continue
                self.runs[config, engine].append(facts)
                yield facts


def recorded(file: Path) -> Collection:
    """What `--json` has left in a file."""
    found = Collection()
    for line in file.read_text().splitlines():
        facts = json.loads(line)
        found.runs[facts["config"], facts["engine"]].append(facts)
    return found


def report(
    all_rounds: Collection,
    configs: Sequence[str] = tuple(SIZES),
    engines: Sequence[str] = tuple(ENGINES),
) -> str:
    """The table, and beneath it what one must know to believe it.

    Raises
    ------
    SystemExit
        If the engines' losses differ.
    """
    runs = all_rounds.runs
    there = [engine for engine in engines if any(engine == name for _, name in runs)]
    table = [row(config, runs, there) for config in configs]
    versions = {run["engine"]: run["version"] for each in runs.values() for run in each}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    best = {
        f"{config} {engine}": min(each, key=lambda run: run["min_ms"])
        for (config, engine), each in runs.items()
    }
    worst = max(disagreement(config, runs) for config in configs)
    if not worst < LOSS_TOLERANCE:
        sys.exit(f"error: losses differ by {worst:.1g}: the engines do not train the same model")
    lines = [
        f"Rounds: {max(map(len, runs.values()), default=0)}.",
        f"Versions: {named}.",
        *(f"Left out: {reason}" for reason in all_rounds.missing.values()),
        f"Losses of the first steps differ by {worst:.1g} at most (relative).",
    ]
    if noisy := spoilt(best):
        lines.append(
            f"NOT TO BE TRUSTED, as other programs were busy meanwhile: {', '.join(noisy)}."
        )
    return "\n".join([measure.markdown(table), *lines])


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--configs", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of timed steps a run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="is given a line for each run")
    parser.add_argument("--from", dest="recorded", type=Path, metavar="FILE", help="print a file")
    arguments = parser.parse_args()
    configs, engines = arguments.configs, arguments.engines
    if arguments.recorded:
        print(report(recorded(arguments.recorded), configs, engines))
        return
    all_rounds = Collection()
    for number in range(1, arguments.rounds + 1):
        for facts in all_rounds.add_round(
            configs, engines, threads=arguments.threads, seconds=arguments.seconds
        ):
            what = f"round {number}: {facts['config']} {facts['engine']}"
            print(what, file=sys.stderr, flush=True)
            if arguments.json:
                with arguments.json.open("a") as file:
                    file.write(json.dumps(facts) + "\n")
    print(report(all_rounds, configs, engines))


if __name__ == "__main__":
    main()
