"""Ask whether a change is an improvement: the runs of `lmladder try`.

The runs are jobs of ordinary sweeps: whatever is finished is used again, an interrupted question
continues, and launchers run the jobs.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from lmladder.config import STAGES, composed, one_line, validated
from lmladder.data import Prepared
from lmladder.data.tales import Grammar, generate
from lmladder.evaluation import read_record
from lmladder.experiments import Run, find_runs, trials
from lmladder.experiments.jobs import read_facts
from lmladder.experiments.revisions import checkout
from lmladder.pipeline.rungs import rung_named
from lmladder.pipeline.running import MACHINE
from lmladder.pipeline.sweeps import OUTPUTS, sweep_folder
from lmladder.system.errors import InputError, RunError
from lmladder.system.files import work_folder
from lmladder.system.messages import say
from lmladder.system.sealing import sha256_of_json

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

FRESH = 100_000  # characters of the fresh text on which a pair is confirmed
SCORE = ("-m", "lmladder", "score", "--json")
UNITS = {"s": 1, "m": 60, "h": 3600, "Mtokens": 1e6, "Gtokens": 1e9}  # of a budget


@dataclass(frozen=True)
class Side:
    """The base or the change: code and overrides, which are trained with several seeds.

    Attributes
    ----------
    rung : name of the rung
    overrides : as for Hydra
    root : folder of the code
    commit : of the code; empty for the work tree
    launcher : overrides for Hydra itself
    """

    rung: str
    overrides: tuple[str, ...]
    root: Path = Path()
    commit: str = ""
    launcher: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The key of the settings of the rung."""
        return self.rung if self.rung in STAGES else f"rungs.{self.rung}"

    @property
    def given(self) -> tuple[str, ...]:
        """The overrides of its stage."""
        return (*self.overrides, *([] if self.rung in STAGES else [f"rung={self.rung}"]))

    def folder(self, seed: int | None = None) -> Path:
        """Return the folder of a run, or that of the sweep."""
        stage = self.rung if self.rung in STAGES else "rung"
        sweep = sweep_folder(self.given, f"{stage}@{self.commit[:12]}" if self.commit else stage)
        return sweep.absolute() if seed is None else sweep / f"seed={seed}"

    def train(self, seeds: Iterable[int]) -> None:
        """Run the jobs of these seeds that are not finished; LadderError if one fails."""
        script = f"stages/{self.rung if self.rung in STAGES else 'rung'}.py"
        where = f"seed={','.join(map(str, seeds))}", f"hydra.sweep.dir='{self.folder()}'"
        # The standard output has the answer only.
        self._call(script, "-m", *self.given, *self.launcher, *where, stdout=sys.stderr)

    def run(self, seed: int) -> Run:
        """Return the scored model of a finished run."""
        runs = find_runs([self.folder(seed)]).runs
        if len(runs) > 1:
            raise InputError(f"{self.rung} has {len(runs)} models; ask about a rung with one model")
        return runs[0]

    def tokens(self) -> int:
        """Return on how many tokens a run is trained; 0 where it is not trained in steps."""
        names = ("steps", "batch_size", "sequence_length")
        settings: Any = self.run(0).settings
        return int(np.prod([settings.get(f"{self.section}.training.{name}", 0) for name in names]))

    def seconds(self, seed: int) -> float:
        """Return the measured time of a finished run."""
        return float(read_facts(work_folder(self.folder(seed)) / MACHINE)["seconds"])

    def score(self, seed: int, text: Path) -> tuple[float, int]:
        """Return the nats and the tokens of a text, scored with the code that trained the model."""
        rungs = read_record(self.folder(seed)).settings["rungs"]
        watched = rungs.get(self.rung, {}).get("watch", "")
        module = ["--module", watched] if watched.endswith(".py") else []
        printed = self._call(*SCORE, str(self.folder(seed).absolute()), str(text), *module)
        (found,) = json.loads(printed)["models"].values()
        return float(found["nats"]), int(found["tokens"])

    def _call(self, *arguments: str, stdout: Any = subprocess.PIPE) -> bytes:
        """Run Python in the folder of the code; return what it prints."""
        code = {"PYTHONPATH": str((self.root / "src").absolute())} if self.commit else {}
        command, environment = [sys.executable, *arguments], {**os.environ, **code}
        done = subprocess.run(command, cwd=self.root, env=environment, stdout=stdout, check=False)
        if done.returncode:
            kind = InputError if done.returncode == InputError.exit_status else RunError
            name = " ".join((self.rung, *self.overrides))
            raise kind(f"{name}: failed for the reason printed above")
        return done.stdout or b""


def questions(
    overrides: Iterable[str], common: Sequence[str], against: str | None
) -> Iterator[tuple[Side, tuple[str, ...]]]:
    """Yield the base and the changes of each rung that overrides concern.

    Parameters
    ----------
    overrides : of the changes, and of Hydra
    common : overrides of both sides
    against : revision of the code of the base; None for that of the work tree

    Raises
    ------
    InputError
        If an override is wrong, or concerns no rung, or there is no change.
    """
    launcher, changes, given = list[str](), dict[str, list[str]](), list(overrides)
    try:
        parsed = OverridesParser.create().parse_overrides(given)
    except HydraException as error:
        raise InputError(one_line(error)) from None
    for text, each in zip(given, parsed, strict=True):
        key = each.package or each.key_or_group
        first, _, rest = key.partition(".")
        if each.is_hydra_override():
            launcher.append(text)
        elif first not in (*STAGES, "rungs"):
            raise InputError(f"{text} is no setting of a rung; for both sides: --common {text}")
        elif each.is_sweep_override():
            raise InputError(f"{text} has several values; ask about one at a time")
        elif key.endswith("training.steps"):
            raise InputError(f"{text}: the steps follow from --equal; give the others to --common")
        else:
            rung = first if first in STAGES else rest.partition(".")[0]
            changes.setdefault(rung, []).append(text)
    if not changes and against is None:
        raise InputError("name a change, such as transformer.n_layer=3, or --against REVISION")
    commit, root = checkout(against) if against else ("", Path())
    if commit and not (prepared := root / OUTPUTS / "prepare").exists():
        prepared.symlink_to((OUTPUTS / "prepare").absolute())
    for rung, several in (changes or {"transformer": []}).items():
        yield Side(rung, tuple(common), root, commit, tuple(launcher)), tuple(several)


def ask(
    base: Side,
    changes: tuple[str, ...],
    ledger: Path,
    *,
    smallest: float,
    equal: str = "tokens",
    budget: str | None = None,
    at_once: int = 1,
) -> trials.Trial:
    """Train until the test decides, confirm a change that is better, and record the answer.

    Parameters
    ----------
    ledger : the file of answers
    smallest : smallest difference of interest, in nats per token
    equal : "tokens" or "time", of which both sides have the same
    budget : a number with one of `UNITS`: time of this call, or tokens of all runs
    at_once : pairs of runs between two looks

    Raises
    ------
    InputError
        If the change cannot be composed, or all its runs would have the same seed.
    RunError
        If a run fails.
    """
    started, text = time.monotonic(), Prepared.open(OUTPUTS / "prepare")
    limit = re.fullmatch(rf"(\d+\.?\d*)({'|'.join(UNITS)})", budget or "1000000h")
    if limit is None:
        raise InputError(f"--budget {budget!r} is not a number with one of {', '.join(UNITS)}")
    change = replace(base, overrides=(*base.overrides, *changes), root=Path(), commit="")
    config = validated(composed(Path("conf"), change.given))
    settings: Any = rung_named(change.rung, config).settings
    if getattr(settings, "seed", None) is not None:
        raise InputError(f"{change.section}.seed={settings.seed} gives all runs the same seed")
    pairs: list[tuple[Run, Run]] = []
    answer, looks = trials.UNDECIDED, 0
    while answer == trials.UNDECIDED and len(pairs) < trials.MAX_PAIRS:
        seeds = range(len(pairs), min(len(pairs) + at_once, trials.MAX_PAIRS))
        base.train(seeds)
        if not pairs and base.tokens():
            change = _matched(base, change, settings.training, equal)
        change.train(seeds)
        pairs += [(base.run(seed), change.run(seed)) for seed in seeds]
        found = trials.estimate(_differences(pairs))
        answer = found.answer(smallest)
        looks += len(pairs) >= trials.MIN_PAIRS
        say(f"{len(pairs)} pairs: {found} nats per token, {answer}")
        tokens = (base.tokens() + change.tokens()) * len(pairs)
        used = tokens if limit[2].endswith("tokens") else time.monotonic() - started
        if used * (1 + len(seeds) / len(pairs)) > float(limit[1]) * UNITS[limit[2]]:
            say("the budget has no room for another pair")
            break
    trial = trials.Trial(
        rung=base.rung,
        change=" ".join(changes),
        common=" ".join(base.overrides),
        against=base.commit,
        equal=equal,
        text=text.digest[:16],
        pairs=len(pairs),
        looks=looks,
        base=fmean(loss_of(old) for old, _ in pairs),
        difference=found.mean,
        low=found.low,
        high=found.high,
        answer=answer,
    )
    if answer == trials.BETTER and text.corpus.grammar is not None:
        first = int(sha256_of_json(trial.question)[:12], 16)
        grammar = Grammar(text.corpus.grammar)
        differences, excess = fresh_losses(base, change, range(trial.pairs), grammar, first)
        trial = trial.confirmed_by(trials.estimate(differences), excess)
    elif answer == trials.BETTER:
        blocks = np.array([np.subtract(new.losses, old.losses) for old, new in pairs]).mean(axis=0)
        number = trial.number(trials.read_ledger(ledger))
        margin = trials.text_margin(blocks, np.array(pairs[0][0].text[2], np.float64), number)
        trial = trial.confirmed_by(trials.estimate(_differences(pairs), margin))
    trials.add_to_ledger(ledger, trial)
    return trial


def _matched(base: Side, change: Side, training: Any, equal: str) -> Side:
    """Return the change with as many steps as give it the tokens or the time of the base."""

    def with_steps(steps: int) -> Side:
        own = [f"{change.section}.training.steps={steps}"] if steps != training.steps else []
        return replace(change, overrides=(*change.overrides, *own))

    steps = max(1, round(base.tokens() / (training.batch_size * training.sequence_length)))
    if equal == "time":
        same = with_steps(steps)
        for side, seed in ((same, 0), (base, 1)):  # the base has trained seed 0 before
            side.train([seed])
        seconds = min(base.seconds(seed) for seed in (0, 1))
        steps = max(1, round(steps * seconds / same.seconds(0)))
    say(f"equal {equal}: {steps} steps of the change")
    return with_steps(steps)


def loss_of(run: Run) -> float:
    """Return the nats per token of a run: of the whole validation text, or of its sequences."""
    return run.scores.get("nats_per_token", run.scores["val_loss"])


def _differences(pairs: Sequence[tuple[Run, Run]]) -> list[float]:
    return [loss_of(new) - loss_of(old) for old, new in pairs]


def fresh_losses(
    base: Side, change: Side, seeds: Iterable[int], grammar: Grammar, first: int
) -> tuple[list[float], float]:
    """Return the differences of pairs on fresh text, and the loss of the base above the truth.

    Each pair has a text of its own, so the deviation over pairs is that over seeds and texts.

    Parameters
    ----------
    seeds : of the pairs
    first : seed of the text of seed 0; nothing else should read these texts
    """
    differences, excesses = [], []
    with TemporaryDirectory() as folder:
        file = Path(folder, "fresh.txt")
        for seed in seeds:
            stories = generate(grammar, first + seed, FRESH)
            file.write_text("".join(f"{each.text}\n" for each in stories), encoding="utf-8")
            (old, tokens), (new, _) = (each.score(seed, file) for each in (base, change))
            differences.append((new - old) / tokens)
            excesses.append((old - sum(each.nll for each in stories)) / tokens)
    return differences, fmean(excesses)
