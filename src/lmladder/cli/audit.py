"""`lmladder audit`: whether the predictions and the loss of a model are valid."""

from __future__ import annotations

from typing import Annotated

from lmladder.cli.arguments import (
    DEFAULT_CHECKPOINT,
    CheckpointPath,
    RungModules,
    open_checkpoint,
    text_of,
)
from lmladder.system.errors import InputError, RunError

import typer

CLAIM = typer.Option(help="A loss to check: nats per token of the whole validation text.")


def audit(
    checkpoint: CheckpointPath = DEFAULT_CHECKPOINT,
    claim: Annotated[float | None, CLAIM] = None,
    modules: RungModules = None,
) -> None:
    """Check that the loss of a model is valid.

    The audit scores the validation text of the ladder of the checkpoint, or of outputs/prepare. A
    loss is valid if each byte is predicted once, before it is known. The last line of each model is
    the verdict, and the exit status is 1 if a check fails. docs/scoring.md describes the checks and
    their limits.

    Examples:
        lmladder audit outputs/transformer
        lmladder audit outputs/mlp --claim 0.8171
    """
    from lmladder.evaluation import audit as checks
    from lmladder.models import restore_models

    loaded, wrong = open_checkpoint(checkpoint), list[str]()
    text = text_of(checkpoint)
    models = restore_models(loaded)
    if claim is not None and len(models) > 1:
        raise InputError(f"--claim is of one model; {checkpoint} has {', '.join(models)}")
    for name in models:
        subject = checks.subject_of(loaded, name, text, "val", claim=claim)
        findings = checks.audit(subject)
        for each in findings:
            print(f"  {each.check:10}  {each.status:10}  {each.detail}")
        if slow := checks.slow_because(subject):
            print(f"  training is slower, because its steps cannot be recorded: {slow}")
        failed = checks.names_of(findings, checks.FAILED)
        unknown = checks.names_of(findings, checks.NOT_JUDGED)
        verdict = f"{checks.FAILED} {failed}" if failed else checks.PASSED
        print(f"{name}: {verdict}" + f"; not judged: {unknown}" * bool(unknown), flush=True)
        wrong += [f"{name} fails {failed}"] * bool(failed)
    if wrong:
        raise RunError("; ".join(wrong))
