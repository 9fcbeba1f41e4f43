"""`lmladder audit`: whether a score is one."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lmladder.cli.arguments import CORPUS, AsJson, RungModules, open_checkpoint
from lmladder.system.errors import InputError, RunError

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmladder.data import Prepared
    from lmladder.evaluation import Score
    from lmladder.evaluation.audit import Subject

SPLIT = "val"  # the text that is audited
RULES = ("min_context", "batch_tokens")  # of scoring


def audit(
    target: Annotated[
        Path, typer.Argument(help="A checkpoint, or the folder of a run or of a ladder.")
    ],
    prepared: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the text. [default: that of the run's ladder, or outputs/prepare]"
        ),
    ] = None,
    as_json: AsJson = False,
    modules: RungModules = None,
) -> None:
    """Check that scores are valid.

    A score is valid if each byte is predicted once, before it is known.

    The exit status is 1 if a check fails. docs/audit.md describes the checks and their limits.

    Examples:
        lmladder audit outputs/transformer
        lmladder audit outputs
    """
    from lmladder.data import Prepared
    from lmladder.evaluation.audit import audit, failures

    facts, failed = [], []
    for path, folder in _targets(target, prepared):
        for name, subject in _subjects(path, Prepared.open(folder)):
            findings = audit(subject)
            found = failures(findings)
            checks = [asdict(each) for each in findings]
            facts.append({"model": name, "path": str(path), "failed": found, "checks": checks})
            failed += [f"{name} fails {found}"] if found else []
            if not as_json:
                print(f"{name}, {path}")
                for each in findings:
                    print(f"  {each.check:10}  {each.status:14}  {each.detail}", flush=True)
    if as_json:
        print(dumps(facts, indent=2))
    if failed:
        raise RunError("; ".join(failed))


def _targets(target: Path, prepared: Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield the checkpoints that a path names, one or those of a ladder, each with its text."""
    from lmladder.training.checkpoint import LATEST

    files = [target]
    if target.is_dir():
        folders = [target, *sorted(target.glob("*")), *sorted(target.glob("*/*"))]
        files = [each / LATEST for each in folders if (each / LATEST).exists()]
        corpus = target / "prepare" / CORPUS
        files = files[:1] if target / LATEST in files else files + [corpus] * corpus.exists()
    if not files:
        raise InputError(f"there is no checkpoint in {target}")
    for file in files:
        above = file.absolute().parents[1:3]
        ladder = next((each for each in above if (each / "prepare").is_dir()), Path("outputs"))
        yield file, prepared or ladder / "prepare"


def _subjects(path: Path, prepared: Prepared) -> Iterator[tuple[str, Subject]]:
    """Yield what to audit of the models of a checkpoint, with their scores in the table, if any."""
    from lmladder.evaluation.audit import subject_of
    from lmladder.experiments.runs import ladder_scores
    from lmladder.models.registry import KINDS
    from lmladder.training.checkpoint import BEST

    checkpoint, results = open_checkpoint(path), prepared.directory.parent / "evaluate"
    settings, recorded = ladder_scores(results, path.parent, prepared.digest)
    best = settings.get("evaluate.checkpoint") == "best"
    rules = {key: settings[f"evaluate.{key}"] for key in RULES if f"evaluate.{key}" in settings}
    scores: dict[str, Score] = {}
    is_scored = KINDS[checkpoint.kind].fit.again is not None or best == (path.name == BEST)
    if is_scored and len(rules) == len(RULES):  # the rule is known
        scores = recorded
    for name in checkpoint.restore_models():
        yield name, subject_of(checkpoint, name, prepared, SPLIT, score=scores.get(name), **rules)
