"""Verification that a run reproduces: it is trained again, and the weights are compared.

The history of a checkpoint has a digest of the weights at each evaluation, so the step from which a
run differs is known. On other machines and with other versions rounding differs, and so do bits.
"""

import sys
import tempfile
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from lmladder import kernels
from lmladder.data import Prepared
from lmladder.evaluation import read_record
from lmladder.models import kind_named, rung_settings
from lmladder.system.errors import InputError
from lmladder.system.settings import dotted, validate
from lmladder.training.checkpoint import Checkpoint, weights_digest
from lmladder.training.history import DIGEST


class _EnoughError(Exception):
    """Ends a training whose result is known."""


def differs_at(path: Path, prepared: Prepared) -> int | None:
    """Train the run of a checkpoint again; return the step at which it differs, or None.

    The kernels are those of the record beside the checkpoint, if there is one. A run without steps
    differs at step 0.

    Raises
    ------
    InputError
        If the checkpoint is damaged, of another text or of a run that has not finished, or was not
        trained here.
    RunError
        If the training fails, such as for a loss that is not finite.
    """
    checkpoint = Checkpoint.load(path)
    if checkpoint.data_digest != prepared.digest:
        raise InputError(f"{path} was not trained on {prepared.directory}")
    kind, by_watch = kind_named(checkpoint.kind), "watch" in checkpoint.config
    settings = validate(rung_settings(checkpoint.kind, watched=by_watch), checkpoint.config)
    recorded = [(row["step"], row[DIGEST]) for row in checkpoint.history]
    if checkpoint.trained_by or (kind.by_steps and not recorded):
        raise InputError(f"{path} is not of a finished run that was trained here")
    recorded[-1:] = [(checkpoint.step, weights_digest(checkpoint.model))]
    with suppress(InputError):
        used = dotted(read_record(path.parent).settings).get("runtime.kernels")
        kernels.select(str(used))
    history: list[tuple[int, str]] = []

    def watch(state: Checkpoint) -> None:
        history[:] = [(row["step"], row[DIGEST]) for row in state.history]
        if history != recorded[: len(history)] or state.step >= checkpoint.step:
            raise _EnoughError

    # A mixture contains the models of its members.
    members = {k: each for k, each in checkpoint.model.items() if checkpoint.members}
    start = replace(checkpoint, step=0, history=(), model=members, optimizer={})
    # Progress goes to standard error, apart from verdicts.
    with (
        tempfile.TemporaryDirectory() as folder,
        redirect_stdout(sys.stderr),
        suppress(_EnoughError),
    ):
        again = kind.fit(start, settings, prepared, Path(folder), watch)
        history[-1:] = [(again.step, weights_digest(again.model))]
    pairs = zip_longest(recorded, history[: len(recorded)])
    return next((expected[0] for expected, found in pairs if expected != found), None)
