"""The one training loop, for every model that learns by gradients.

A run is a pure function of its configuration, seed, data and code. Its state after a step is in one
checkpoint, so it may be killed at any time: started again, it goes on from the last checkpoint and
ends with the same bytes. While it is unfinished its files have names of their own, and they take
the final names when all is done.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from lmladder.arrays import Array, IntArray
from lmladder.atomic import atomic_write, discard_side_files
from lmladder.autograd import Tensor
from lmladder.checkpoint import Checkpoint
from lmladder.config import RungConfig, ScheduleConfig
from lmladder.errors import InputError, RunError
from lmladder.interrupt import deferred
from lmladder.models.neural import NeuralLanguageModel
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
COLUMNS = ("step", "tokens", "train_nats", "val_nats", "learning_rate_factor", "gradient_norm")

Row: TypeAlias = dict[str, Any]


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


def train(run: TrainingRun) -> tuple[Checkpoint, float]:
    """Train to the configured step; write checkpoint, best checkpoint and history.

    Returns
    -------
    finished : the last checkpoint
    tokens_per_second : predicted, over the steps that this call took; nan if none were left

    Raises
    ------
    InputError
        If the settings do not fit the data, such as a text shorter than a row.
    RunError
        If the loss is no longer finite; the last checkpoint stays.
    KeyboardInterrupt
        If a signal asked to stop; the step that was under way is in a checkpoint.
    """
    training = run.config.training
    if run.config.schedule.name not in SCHEDULES:
        raise InputError(
            f"unknown schedule {run.config.schedule.name!r}; choose from {sorted(SCHEDULES)}"
        )
    parameters = run.model.parameters()
    optimizer = build_optimizer(run.config.optimizer, parameters, run.model.hidden_matrices())
    validation = validation_rows(run.val, training.row_length, training.evaluate_tokens)
    finished = resume(run.directory, run.origin, LATEST, BEST)
    state = finished or resume(run.directory, run.origin, UNFINISHED, UNFINISHED_BEST)
    if state is None:
        val_nats = _mean_nats(run, validation)
        history: tuple[Row, ...] = (_row(0, 0, None, val_nats, None, None),)
        state = replace(run.origin, history=history)
    else:
        print(f"{run.origin.kind}: going on from step {state.step}", flush=True)
        run.model.load(state.model)
        optimizer.load_state(state.optimizer)
    tokens_per_step = training.batch_size * training.row_length
    progress = TrainingProgress(run.origin.kind, state.step, training.steps, tokens_per_step)
    pending = list(state.pending)
    with progress, deferred() as interrupt:
        for step in range(state.step, training.steps):
            loss, norm = _take_step(run, parameters.values(), optimizer, step)
            pending.append((loss, norm))
            done = step + 1
            progress.step(done, loss)
            evaluate = done % training.evaluate_every == 0 or done == training.steps
            if evaluate:
                val_nats = _mean_nats(run, validation)
                if not math.isfinite(val_nats):
                    raise _diverged(run, done, f"validation loss {val_nats}")
                losses, norms = zip(*pending, strict=True)
                row = _row(
                    done,
                    done * tokens_per_step,
                    math.fsum(losses) / len(losses),
                    val_nats,
                    _factor(run.config.schedule, training.steps, step),
                    max(norms),
                )
                state = replace(state, history=(*state.history, row))
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
                progress.evaluated(done, loss, val_nats)
            interrupt.raise_now()
        speed = progress.tokens_per_second if progress.first < progress.last else math.nan
    if finished is None:
        _publish(run.directory)
    atomic_write(run.directory / HISTORY, _csv(state.history).encode())
    return state, speed


def _take_step(
    run: TrainingRun, parameters: Collection[Tensor], optimizer: Optimizer, step: int
) -> tuple[float, float]:
    """One batch forward and back and one step of the optimizer: (loss, gradient norm)."""
    training, seed = run.config.training, run.origin.seed
    rows = sample_rows(
        run.train,
        rows=training.batch_size,
        length=training.row_length + 1,
        rng=stream(seed, "batches", step),
    )
    loss = run.model.loss(rows, stream(seed, "dropout", step))
    loss.backward()
    norm = global_norm(parameters)
    if not (math.isfinite(loss.item()) and math.isfinite(norm)):
        raise _diverged(run, step + 1, f"loss {loss.item()} and gradient norm {norm}")
    optimizer.step(
        step,
        factor=_factor(run.config.schedule, training.steps, step),
        gradient_scale=clip_scale(norm, training.clip_norm),
    )
    for tensor in parameters:
        tensor.grad = None
    return loss.item(), norm


def _diverged(run: TrainingRun, step: int, what: str) -> RunError:
    kept = run.directory / UNFINISHED
    good = f"; the last good checkpoint is kept in {kept}" if kept.exists() else ""
    return RunError(f"{run.origin.kind}: {what} at step {step}; try a lower learning rate{good}")


def _mean_nats(run: TrainingRun, rows: IntArray) -> float:
    """Nats a token over all rows, as many at a time as in training, which bounds memory."""
    step = run.config.training.batch_size
    parts = [run.model.nats(rows[first : first + step]) for first in range(0, len(rows), step)]
    return float(np.concatenate(parts).mean())


def validation_rows(val: IntArray, row_length: int, tokens: int) -> IntArray:
    """Rows spread evenly over the validation text, about `tokens` in all: (rows, row_length + 1).

    Each is scored as a row of a training batch is, so their mean compares with the training loss.
    """
    if len(val) < row_length + 1:
        raise InputError(
            f"the validation text of {len(val)} tokens is shorter than a row of {row_length + 1}"
        )
    count = max(1, min(tokens, len(val) - 1) // row_length)
    starts = np.linspace(0, len(val) - row_length - 1, count).astype(np.int64)
    return val[starts[:, None] + np.arange(row_length + 1)].astype(np.int64)


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
        pair, reason = ("", ""), str(error)
    if pair == (origin.fingerprint, origin.fingerprint):
        return found
    print(f"{reason}; starting anew", flush=True)
    return None


def _keep(directory: Path, state: Checkpoint) -> None:
    """Save the state, and first, where it is the best so far, as the best.

    In this order a kill between the two costs nothing: the step is taken again, to the same bytes.
    A state before the first evaluation stands in as the best.
    """
    scores = [row["val_nats"] for row in state.history[1:]]
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


def _csv(history: tuple[Row, ...]) -> str:
    lines = [",".join(COLUMNS)]
    for row in history:
        lines.append(",".join(_cell(row[name]) for name in COLUMNS))
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _row(*values: Any) -> Row:
    return dict(zip(COLUMNS, values, strict=True))


def _factor(schedule: ScheduleConfig, steps: int, step: int) -> float:
    return factor(
        step,
        name=schedule.name,
        steps=steps,
        warmup_steps=schedule.warmup_steps,
        final_fraction=schedule.final_fraction,
    )


def _values(model: NeuralLanguageModel) -> Mapping[str, Array]:
    return {name: tensor.value for name, tensor in model.parameters().items()}
