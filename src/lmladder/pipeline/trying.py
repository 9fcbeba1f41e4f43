"""Ask whether a change is an improvement: the runs of `lmladder try`.

The runs are jobs of ordinary sweeps: whatever is finished is used again, an interrupted question
continues, and launchers run the jobs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from lmladder.config import STAGES
from lmladder.config.composing import composed, one_line, validated
from lmladder.data import Prepared, read_text
from lmladder.data.reading import bytes_from_text
from lmladder.data.tales import Grammar, generate
from lmladder.evaluation import block_starts, read_record, token_nll
from lmladder.evaluation.ladder import READING
from lmladder.experiments import trials
from lmladder.experiments.jobs import FINISHED, read_facts
from lmladder.experiments.revisions import checkout
from lmladder.models import restore_models
from lmladder.models.contract import own_tokenizer
from lmladder.pipeline.rungs import rung_named
from lmladder.pipeline.running import MACHINE
from lmladder.pipeline.sweeps import OUTPUTS, sweep_folder
from lmladder.system.arrays import FloatArray
from lmladder.system.errors import InputError, RunError
from lmladder.system.files import make_folder, work_folder, write_json
from lmladder.system.messages import say
from lmladder.system.sealing import sha256_of_json
from lmladder.system.settings import dotted
from lmladder.training.checkpoint import LATEST, Checkpoint

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

FRESH = 100_000  # characters of the fresh text on which a pair is confirmed
SCORE = ("-m", "lmladder", "score", "--json", "--per-token")
TIMED = 5  # a run for --equal time has this part of the steps
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
    def stage(self) -> str:
        return self.rung if self.rung in STAGES else "rung"

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
        stage = f"{self.stage}@{self.commit[:12]}" if self.commit else self.stage
        sweep = sweep_folder(without_hydra(self.given), stage)
        return sweep.absolute() / ("" if seed is None else f"seed={seed}")

    def train(self, seeds: Iterable[int]) -> None:
        """Run the jobs of these seeds that are not finished; LadderError if one fails."""
        self._run(self.folder(), seeds, *self.launcher)

    def seconds(self, steps: int) -> float:
        """Return the measured time of a run of some steps, without a launcher; nothing is kept."""
        key = self.section
        short = f"{key}.training.steps={steps}", f"{key}.schedule.warmup_steps=0"
        with TemporaryDirectory() as folder:
            self._run(Path(folder), [0], *short)
            facts = read_facts(work_folder(Path(folder, "seed=0")) / MACHINE)
        return float(facts["seconds"])

    def _run(self, folder: Path, seeds: Iterable[int], *more: str) -> None:
        where = f"seed={','.join(map(str, seeds))}", f"hydra.sweep.dir='{folder}'"
        # The standard output has the answer only; 2 is the standard error.
        self._call(f"stages/{self.stage}.py", "-m", *self.given, *more, *where, stdout=2)

    def settings(self) -> dict[str, Any]:
        """Return the settings of a finished run, by key within its rung."""
        section, found = f"{self.section}.", dotted(read_record(self.folder(0)).settings)
        return {k.removeprefix(section): v for k, v in found.items() if k.startswith(section)}

    def nats(self, seed: int, text: Path) -> FloatArray:
        """Return the nats of each token of a text, by the code that trained the model."""
        if not self.commit:  # this program's, whose kinds are loaded
            checkpoint = Checkpoint.load(self.folder(seed) / LATEST)
            (model,) = restore_models(checkpoint).values()
            tokenizer = own_tokenizer(model) or checkpoint.restore_tokenizer()
            tokens = tokenizer.encode(read_text(text))
            return token_nll(model, tokens, np.array([tokenizer.first]), **READING)
        watched = self.settings().get("watch", "")
        module = ["--module", watched] if watched.endswith(".py") else []
        printed = json.loads(self._call(*SCORE, str(self.folder(seed)), str(text), *module))
        (nats,) = printed["nats"].values()
        return np.array(nats)

    def _call(self, *arguments: str, stdout: Any = subprocess.PIPE) -> bytes:
        """Run Python in the folder of the code; return what it prints."""
        code = {"PYTHONPATH": str((self.root / "src").absolute())} if self.commit else {}
        command, environment = [sys.executable, *arguments], {**os.environ, **code}
        with subprocess.Popen(command, cwd=self.root, env=environment, stdout=stdout) as process:
            try:
                printed, _ = process.communicate()
            except KeyboardInterrupt as interrupt:
                if interrupt.args != (signal.SIGINT,):  # which a terminal sends to both
                    process.terminate()
                process.wait()
                raise
        if process.returncode:
            kind = InputError if process.returncode == InputError.exit_status else RunError
            name = " ".join((self.rung, *self.overrides))
            raise kind(f"{name}: failed for the reason printed above")
        return printed or b""


def without_hydra(overrides: Iterable[str]) -> list[str]:
    """Return overrides without those for Hydra itself, which affect no result."""
    return [each for each in overrides if not each.startswith("hydra.")]


def questions(
    overrides: Iterable[str], common: Sequence[str], against: str | None, rung: str
) -> Iterator[tuple[Side, tuple[str, ...]]]:
    """Yield the base and the changes of each rung that overrides concern.

    Parameters
    ----------
    overrides : of the changes, and of Hydra
    common : overrides of both sides
    against : revision of the code of the base; None for that of the work tree
    rung : the one to ask about where only the code changes

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
            raise InputError(f"{text} is not a setting of a trained rung; for both: --common")
        elif each.is_sweep_override():
            raise InputError(f"{text} has several values; ask about one at a time")
        elif key.endswith("training.steps"):
            raise InputError(f"{text}: the steps follow from --equal; give the others to --common")
        else:
            name = first if first in STAGES else rest.partition(".")[0]
            changes.setdefault(name, []).append(text)
    if not changes and against is None:
        raise InputError("name a change, such as transformer.n_layer=3, or --against REVISION")
    commit, root = checkout(against) if against else ("", Path())
    if commit and not (prepared := root / OUTPUTS / "prepare").is_symlink():
        make_folder(prepared.parent)
        prepared.symlink_to((OUTPUTS / "prepare").absolute())
    for name, several in (changes or {rung: []}).items():
        yield Side(name, tuple(common), root, commit, tuple(launcher)), tuple(several)


def ask(
    base: Side,
    changes: tuple[str, ...],
    ledger: Path,
    *,
    smallest: float,
    equal: str,
    budget: str | None,
    at_once: int,
) -> trials.Trial:
    """Train until the test decides, confirm a change that is better, and record the answer.

    Parameters
    ----------
    ledger : the file of answers, which is written at each look
    smallest : smallest difference of interest, in nats per token
    equal : "tokens" or "time", of which both sides have the same
    budget : a number with one of `UNITS`: time of this call, or tokens of all runs; None: any
    at_once : pairs of runs between two looks

    Raises
    ------
    InputError
        If the change cannot be composed, or its runs would not differ by their seeds.
    RunError
        If a run fails.
    """
    started, text = time.monotonic(), Prepared.open(OUTPUTS / "prepare")
    limit = re.fullmatch(rf"(\d+\.?\d*)({'|'.join(UNITS)})", budget or "")
    if budget is not None and limit is None:
        raise InputError(f"--budget {budget!r} is not a number with one of {', '.join(UNITS)}")
    change = replace(base, overrides=(*base.overrides, *changes), root=Path(), commit="")
    _training(change)
    before = trials.read_ledger(ledger)
    differences, blocks, losses = list[float](), list[FloatArray](), list[float]()
    answer, looks = trials.UNDECIDED, 0
    with TemporaryDirectory() as folder:
        file = Path(folder, "validation.txt")
        file.write_bytes(bytes_from_text(text.tokenizer.decode(text.val)))
        while answer == trials.UNDECIDED and len(losses) < trials.MAX_PAIRS:
            begun, first = time.monotonic(), len(losses)
            seeds = range(first, min(first + at_once, trials.MAX_PAIRS))
            base.train(seeds)
            if not first:
                change = matched(base, change, equal)
            change.train(seeds)
            for seed in seeds:
                old, new = base.nats(seed, file), change.nats(seed, file)
                losses.append(float(old.mean()))
                differences.append(float((new - old).mean()))
                blocks.append(np.add.reduceat(new - old, block_starts(len(old))))
            found = trials.estimate(differences)
            answer = found.answer(smallest)
            looks += len(losses) >= trials.MIN_PAIRS
            made = [read_facts(each.folder(0) / FINISHED) for each in (base, change)]
            trial = trials.Trial(
                rung=base.rung,
                change=" ".join(changes),
                common=" ".join(without_hydra(base.overrides)),
                against=base.commit,
                equal=equal,
                text=text.digest[:16],
                inputs=sha256_of_json([each["fingerprint"] for each in made])[:16],
                smallest=smallest,
                pairs=len(losses),
                looks=looks,
                base=fmean(losses),
                difference=found.mean,
                low=found.low,
                high=found.high,
                answer=answer,
            )
            trials.add_to_ledger(ledger, trial)
            say(f"pairs of runs: {len(losses)}, difference {found} nats per token: {answer}")
            if limit is None or answer != trials.UNDECIDED:
                continue
            used, more = time.monotonic() - started, time.monotonic() - begun
            if limit[2].endswith("tokens"):
                of_pair = _tokens(base.settings()) + _tokens(change.settings())
                used, more = of_pair * len(losses), of_pair * len(seeds)
            if used + more > float(limit[1]) * UNITS[limit[2]]:
                say("more pairs would exceed the budget")
                break
    if answer == trials.BETTER and text.corpus.grammar is not None:
        number = int(sha256_of_json(trial.question)[:12], 16)
        grammar = Grammar(text.corpus.grammar)
        differences, excess = fresh_losses(base, change, range(len(losses)), grammar, number)
        trial = trial.confirmed_by(trials.estimate(differences), excess)
    elif answer == trials.BETTER:
        lengths = np.diff([*block_starts(len(old)), len(old)]).astype(np.float64)
        margin = trials.text_margin(np.mean(blocks, axis=0), lengths, trial.number(before))
        trial = trial.confirmed_by(trials.estimate(differences, margin))
    trials.add_to_ledger(ledger, trial)
    return trial


def _training(side: Side) -> Any:
    """Return the settings of training in the work tree.

    Raises
    ------
    InputError
        If an override is wrong, or the runs would not differ by their seeds, or end early.
    """
    rung = rung_named(side.rung, validated(composed(Path("conf"), side.given)))
    if rung.kind.deterministic or rung.settings.seed is not None:
        raise InputError(f"{side.section} does not depend on the seed; see lmladder compare")
    if rung.settings.training.patience is not None:
        raise InputError(f"{side.section}.training.patience ends runs before their budget")
    return rung.settings.training


def matched(base: Side, change: Side, equal: str) -> Side:
    """Return the change with as many steps as give it the tokens or the time of the base."""
    training, own = _training(change), base.settings()
    steps = max(1, round(_tokens(own) / (training.batch_size * training.sequence_length)))
    if equal == "time":
        path = work_folder(change.folder()) / f"equal_time_{base.commit[:12]}.json"
        if not (known := read_facts(path)):
            short = max(1, own["training.steps"] // TIMED), max(1, steps // TIMED)
            sides = (*zip((base, change), short, strict=True),)
            times = [[side.seconds(count) for side, count in sides] for _ in range(2)]
            known = {"seconds": [min(each) for each in zip(*times, strict=True)]}
            make_folder(path.parent)
            write_json(path, known)
        steps = max(1, round(steps * known["seconds"][0] / known["seconds"][1]))
    say(f"equal {equal}: {own['training.steps']} steps of the base, {steps} of the change")
    if steps != training.steps:
        more = f"{change.section}.training.steps={steps}"
        change = replace(change, overrides=(*change.overrides, more))
        _training(change)
    return change


def _tokens(settings: dict[str, Any]) -> int:
    """Return on how many tokens a run is trained."""
    names = ("steps", "batch_size", "sequence_length")
    return int(np.prod([settings[f"training.{name}"] for name in names]))


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
            old, new = base.nats(seed, file), change.nats(seed, file)
            differences.append(float((new - old).mean()))
            excesses.append((float(old.sum()) - sum(each.nll for each in stories)) / len(old))
    return differences, fmean(excesses)
