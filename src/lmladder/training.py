"""The one training loop, for every model that learns by gradients.

A run is a pure function of its configuration, seed, data and code. Its state after a step is in one
checkpoint, so it may be killed at any time: started again, it goes on from the last checkpoint and
ends with the same bytes. While it is unfinished its files have names of their own, and they take
the final names when all is done.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lmladder import history
from lmladder.arrays import Array, FloatArray, IntArray
from lmladder.atomic import atomic_write, discard_side_files
from lmladder.autograd import Captured, Tensor
from lmladder.checkpoint import REMEDY, Checkpoint, weights_digest
from lmladder.config import RungConfig, TrainingConfig
from lmladder.errors import InputError, RunError
from lmladder.history import DIGEST, WAITED, Measured, Row, waited
from lmladder.interrupt import deferred
from lmladder.models.neural import NeuralLanguageModel
from lmladder.monitoring import first_not_finite, parameter_groups
from lmladder.optim import (
    SCHEDULES,
    Optimizer,
    build_optimizer,
    clip_scale,
    factor,
    global_norm,
)
from lmladder.progress import TrainingProgress
from lmladder.rng import stream
from lmladder.text import sample_rows

import numpy as np

LATEST, BEST = "checkpoint.safetensors", "best.safetensors"
UNFINISHED, UNFINISHED_BEST = "unfinished.safetensors", "unfinished-best.safetensors"
HISTORY = "history.csv"


@dataclass(frozen=True)
class TrainingRun:
    """All that decides a run, and where it writes.

    Attributes
    ----------
    model : freshly made; trained in place
    origin : its checkpoint before the first step, without arrays
    config : optimizer, schedule and training settings
    train, val : token arrays, 1-d
    directory : exists; takes the checkpoints and history.csv
    """

    model: NeuralLanguageModel
    origin: Checkpoint
    config: RungConfig
    train: IntArray
    val: IntArray
    directory: Path


def train(
    run: TrainingRun, watch: Callable[[Checkpoint], None] = lambda state: None
) -> tuple[Checkpoint, float]:
    """Train to the configured step, or till patience ends; write checkpoints and history.

    Parameters
    ----------
    watch : is shown each state that has a new line of history; before the first step one without
        arrays. What it raises ends the run.

    Returns
    -------
    finished : the last checkpoint
    tokens_per_second : predicted, over the steps that this call took; nan if none were left

    Raises
    ------
    InputError
        If the settings do not fit the data, such as a text shorter than a row.
    RunError
        If the loss or its gradient is no longer finite; the last checkpoint stays.
    KeyboardInterrupt
        If a signal asked to stop; the step that was under way is in a checkpoint.
    """
    training, schedule = run.config.training, run.config.schedule
    if schedule.name not in SCHEDULES:
        raise InputError(f"unknown schedule {schedule.name!r}; choose from {sorted(SCHEDULES)}")
    parameters = run.model.parameters()
    groups = parameter_groups(run.model) if training.monitor_every else {}
    optimizer = build_optimizer(run.config.optimizer, parameters, run.model.hidden_matrices())
    validation = validation_rows(run.val, training.row_length, training.evaluate_tokens)
    finished = resume(run.directory, run.origin, LATEST, BEST)
    state = finished or resume(run.directory, run.origin, UNFINISHED, UNFINISHED_BEST)
    if state is None:
        row = {"step": 0, "tokens": 0, "val_nats": _mean_nats(run, validation)}
        state = _with_row(run, run.origin, row)
        watch(state)
    else:
        print(f"{run.origin.kind}: going on from step {state.step}", flush=True)
        run.model.load(state.model)
        optimizer.load_state(state.optimizer)
    tokens_per_step = training.batch_size * training.row_length
    progress = TrainingProgress(run.origin.kind, state.step, training.steps, tokens_per_step)
    pending = list(state.pending)
    loss_of = Captured(run.model.loss, parameters.values(), share=1 / training.accumulate)
    with progress, deferred() as interrupt:
        for step in range(state.step, training.steps):
            if _out_of_patience(training, state):
                break
            pending.append(_take_step(run, loss_of, parameters, groups, optimizer, step))
            done, loss = step + 1, pending[-1]["train_nats"]
            progress.step(done, loss)
            evaluate = done % training.evaluate_every == 0 or done == training.steps
            if evaluate:
                val_nats = _mean_nats(run, validation)
                if not math.isfinite(val_nats):
                    what = f"validation loss {val_nats}"
                    raise _diverged(run, done, what, _parts(training, validation))
                row = {
                    "step": done,
                    "tokens": done * tokens_per_step,
                    "val_nats": val_nats,
                    "learning_rate_factor": factor(step, training.steps, schedule),
                    **history.summary(pending),
                }
                state = _with_row(run, state, row)
                pending.clear()
            if evaluate or interrupt.signal is not None:
                state = replace(
                    state,
                    step=done,
                    pending=tuple(pending),
                    model=_values(run.model),
                    optimizer=optimizer.state(),
                )
                _keep(run.directory, state)
            if evaluate:
                watch(state)
                progress.evaluated(done, loss, val_nats)
            interrupt.raise_now()
        speed = progress.tokens_per_second(state.step)
    if state.step < training.steps:
        print(
            f"{run.origin.kind}: stopped at step {state.step} of {training.steps}, "
            f"after {training.patience} evaluations without improvement",
            flush=True,
        )
    if finished is None:
        _publish(run.directory)
    table = history.as_csv(state.history, history.columns(training, groups))
    atomic_write(run.directory / HISTORY, table.encode())
    return state, speed


def _take_step(
    run: TrainingRun,
    loss_of: Captured,
    parameters: Mapping[str, Tensor],
    groups: Mapping[str, Sequence[Tensor]],
    optimizer: Optimizer,
    step: int,
) -> Measured:
    """One batch forward and back and one step of the optimizer; what was measured on the way."""
    training, schedule, seed = run.config.training, run.config.schedule, run.origin.seed
    batch = sample_rows(
        run.train,
        rows=training.batch_size,
        length=training.row_length + 1,
        rng=stream(seed, "batches", step),
    )
    micro_batches = np.split(batch, training.accumulate)
    dropout = stream(seed, "dropout", step)
    loss = math.fsum(loss_of(rows, dropout) for rows in micro_batches)
    norm = global_norm(parameters.values())
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"loss {loss} and gradient norm {norm}"
        raise _diverged(run, step + 1, what, micro_batches, stream(seed, "dropout", step))
    measured = {"train_nats": loss, "gradient_norm": norm}
    if training.monitor_every and (step + 1) % training.monitor_every == 0:
        norms = {name: global_norm(tensors) for name, tensors in groups.items()}
        measured |= {history.of_group(name): each for name, each in norms.items()}
    optimizer.step(
        step,
        factor=factor(step, training.steps, schedule),
        gradient_scale=clip_scale(norm, training.clip_norm),
    )
    for tensor in parameters.values():
        tensor.grad = None
    return measured


def _diverged(
    run: TrainingRun,
    step: int,
    what: str,
    batches: Iterable[IntArray],
    rng: np.random.Generator | None = None,
) -> RunError:
    """The error for a loss of `batches` that is not finite; says where that begins."""
    where = first_not_finite(run.model, batches, rng)
    begins = f"; the first that is not finite is {where}" if where else ""
    kept = run.directory / UNFINISHED
    good = f"; the last good checkpoint is kept in {kept}" if kept.exists() else ""
    return RunError(
        f"{run.origin.kind}: {what} at step {step}{begins}; try a lower learning rate{good}"
    )


def _mean_nats(run: TrainingRun, rows: IntArray) -> float:
    """Nats a token over all rows."""
    return float(row_nats(run.model, run.config.training, rows).mean())


def row_nats(model: NeuralLanguageModel, training: TrainingConfig, rows: IntArray) -> FloatArray:
    """Nats of each token of `validation_rows` but the first: (rows, row_length)."""
    return np.concatenate([model.nats(part) for part in _parts(training, rows)])


def _parts(training: TrainingConfig, rows: IntArray) -> Iterator[IntArray]:
    """As many rows at a time as in training, which bounds memory."""
    size = training.batch_size // training.accumulate
    return (rows[first : first + size] for first in range(0, len(rows), size))


def validation_rows(val: IntArray, row_length: int, tokens: int) -> IntArray:
    """Rows spread evenly over the validation text, about `tokens` in all: (rows, row_length + 1).

    Each is scored as a row of a training batch is, so their mean compares with the training loss.
    """
    if len(val) < row_length + 1:
        raise InputError(
            f"the validation text of {len(val)} tokens is shorter than a row of {row_length + 1}"
        )
    starts = row_starts(len(val), row_length, tokens)
    return val[starts[:, None] + np.arange(row_length + 1)].astype(np.int64)


def row_starts(n_tokens: int, row_length: int, tokens: int) -> IntArray:
    """Where the `validation_rows` of a text of `n_tokens` begin."""
    count = max(1, min(tokens, n_tokens - 1) // row_length)
    return np.linspace(0, n_tokens - row_length - 1, count).astype(np.int64)


def resume(directory: Path, origin: Checkpoint, latest: str, best: str) -> Checkpoint | None:
    """The checkpoint `latest`, if it and `best` are of the very run that `origin` begins.

    Both, as either alone may be left over from another run that was killed in this directory.
    """
    if not (directory / latest).exists():
        return None
    try:
        found = Checkpoint.load(directory / latest)
        pair = (found.fingerprint, Checkpoint.load(directory / best).fingerprint)
        reason = f"{directory / latest} is of another configuration, data or code"
    except InputError as error:
        pair, reason = ("", ""), str(error).removesuffix(f"; {REMEDY}")
    if pair == (origin.fingerprint, origin.fingerprint):
        return found
    print(f"{reason}; starting anew", flush=True)
    return None


def _keep(directory: Path, state: Checkpoint) -> None:
    """Save the state, and first, where it is the best so far, as the best.

    In this order a kill between the two costs nothing: the step is taken again, to the same bytes.
    A state before the first evaluation stands in as the best.
    """
    scores = _scores(state)[1:]
    if not scores or (scores[-1] == min(scores) and not state.pending):
        state.save(directory / UNFINISHED_BEST)
    state.save(directory / UNFINISHED)


def _publish(directory: Path) -> None:
    """Copy the checkpoints to their final names; repeatable, as the unfinished ones stay.

    Best first: where there is a latest, there is a best of the same run.
    """
    for source, name in ((UNFINISHED_BEST, BEST), (UNFINISHED, LATEST)):
        atomic_write(directory / name, (directory / source).read_bytes())


def discard_unfinished(directory: Path) -> None:
    """Remove what only an interrupted run would need; to be called when nothing is left to do."""
    for name in (UNFINISHED, UNFINISHED_BEST):
        (directory / name).unlink(missing_ok=True)
    discard_side_files(directory)


def _with_row(run: TrainingRun, state: Checkpoint, row: Row) -> Checkpoint:
    """The state with one more line of history, which counts for patience where there is any."""
    training = run.config.training
    row[DIGEST] = weights_digest(_values(run.model))
    if training.patience is not None:
        row[WAITED] = waited([*_scores(state), row["val_nats"]], training.min_improvement)
    return replace(state, history=(*state.history, row))


def _out_of_patience(training: TrainingConfig, state: Checkpoint) -> bool:
    return training.patience is not None and state.history[-1][WAITED] >= training.patience


def _scores(state: Checkpoint) -> list[float]:
    return [row["val_nats"] for row in state.history]


def _values(model: NeuralLanguageModel) -> Mapping[str, Array]:
    return {name: tensor.value for name, tensor in model.parameters().items()}
