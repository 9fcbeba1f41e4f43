"""The one training loop, for every model that learns by gradients.

A run is a pure function of its configuration, seed, data, kernels, code and versions. Its state
after a step is in one checkpoint, so it may be killed at any time: started again, it goes on from
the last checkpoint and ends with the same bytes. While it is unfinished its files have names of
their own. When all is done, checkpoints appear under the final names. These hold no digest of code,
which stands beside them in trained.json.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from lmladder.autograd import CapturedLoss, Tensor
from lmladder.data.batches import get_batch, validation_sequences
from lmladder.models.neural import NeuralLanguageModel
from lmladder.optim import (
    Optimizer,
    build_optimizer,
    clip_scale,
    factor,
    global_norm,
)
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError, RunError
from lmladder.system.files import atomic_write, sha256, write_json
from lmladder.system.interrupts import deferred
from lmladder.system.progress import TrainingProgress
from lmladder.system.streams import stream
from lmladder.training import history
from lmladder.training.checkpoint import BEST, LATEST, REMEDY, TRAINED, Checkpoint, weights_digest
from lmladder.training.gradient_norms import first_not_finite, parameter_groups
from lmladder.training.history import DIGEST, WAITED, Measured, Row, waited
from lmladder.training.settings import GradientSettings, TrainingSettings

import numpy as np

UNFINISHED, UNFINISHED_BEST = "unfinished.safetensors", "unfinished-best.safetensors"
HISTORY = "history.csv"
VERSIONS = ("numpy", "numba")  # which a finished run may differ in


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
    config: GradientSettings
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
    parameters = run.model.parameters()
    groups = parameter_groups(run.model) if training.monitor_every else {}
    optimizer = build_optimizer(run.config.optimizer, parameters, run.model.hidden_matrices())
    validation = validation_sequences(run.val, training.sequence_length, training.evaluate_tokens)
    loss_of = CapturedLoss(
        run.model.loss, parameters.values(), share=1 / training.gradient_accumulation_steps
    )
    state, published = _resume(run.directory, run.origin)
    if state is None:
        row = {"step": 0, "tokens": 0, "val_loss": _validation_loss(run, 0, validation, loss_of)}
        state = _with_row(run, run.origin, row)
        watch(state)
    else:
        print(f"{run.origin.kind}: going on from step {state.step}", flush=True)
        run.model.load(state.model)
        optimizer.load_state(state.optimizer)
    tokens_per_step = training.batch_size * training.sequence_length
    progress = TrainingProgress(run.origin.kind, state.step, training.steps, tokens_per_step)
    pending = list(state.pending)
    with progress, deferred() as interrupt:
        for step in range(state.step, training.steps):
            if _out_of_patience(training, state):
                break
            pending.append(_take_step(run, loss_of, parameters, groups, optimizer, step))
            done, loss = step + 1, pending[-1]["train_loss"]
            progress.step(done, loss)
            evaluate = done % training.evaluate_every == 0 or done == training.steps
            if evaluate:
                val_loss = _validation_loss(run, done, validation, loss_of)
                row = {
                    "step": done,
                    "tokens": done * tokens_per_step,
                    "val_loss": val_loss,
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
                progress.evaluated(done, loss, val_loss)
            interrupt.raise_now()
        speed = progress.tokens_per_second(state.step)
    if state.step < training.steps:
        print(
            f"{run.origin.kind}: stopped at step {state.step} of {training.steps}, "
            f"after {training.patience} evaluations without improvement",
            flush=True,
        )
    if not published:
        _publish(run.directory)
    atomic_write(run.directory / HISTORY, history_csv(state, run.model, training).encode())
    return state, speed


def history_csv(state: Checkpoint, model: NeuralLanguageModel, training: TrainingSettings) -> str:
    """Return the content of history.csv of a run whose last checkpoint is `state`."""
    groups = parameter_groups(model) if training.monitor_every else {}
    return history.as_csv(state.history, history.columns(training, groups))


def _take_step(
    run: TrainingRun,
    loss_of: CapturedLoss,
    parameters: Mapping[str, Tensor],
    groups: Mapping[str, Sequence[Tensor]],
    optimizer: Optimizer,
    step: int,
) -> Measured:
    """One batch forward and back and one step of the optimizer; what was measured on the way."""
    training, schedule, seed = run.config.training, run.config.schedule, run.origin.seed
    batch = get_batch(
        run.train,
        batch_size=training.batch_size,
        length=training.sequence_length + 1,
        rng=stream(seed, "batches", step),
    )
    micro_batches = np.split(batch, training.gradient_accumulation_steps)
    dropout = stream(seed, "dropout", step)
    loss = math.fsum(loss_of(rows, dropout) for rows in micro_batches)
    norm = global_norm(parameters.values())
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"loss {loss} and gradient norm {norm}"
        rng = stream(seed, "dropout", step)
        raise _diverged(run, step + 1, what, loss_of, micro_batches, rng, updates=step)
    measured = {"train_loss": loss, "gradient_norm": norm}
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
    loss_of: CapturedLoss,
    batches: Iterable[IntArray],
    rng: np.random.Generator | None = None,
    *,
    updates: int,
) -> RunError:
    """Return the error for a loss of `batches` that is not finite: where that begins, and why.

    `rng` is at the beginning of its stream, so each part of a batch draws what it drew before.

    Parameters
    ----------
    updates : how often the weights have changed
    """
    with closing(loss for rows in batches for loss in loss_of.losses(rows, rng)) as losses:
        where = first_not_finite(run.model, losses)
    begins = f"; the first that is not finite is {where}" if where else ""
    kept = run.directory / UNFINISHED
    good = f"; the last good checkpoint is kept in {kept}" if kept.exists() else ""
    advice = "try a lower learning rate" if updates else _initial_weights(run.origin)
    return RunError(f"{run.origin.kind}: {what} at step {step}{begins}; {advice}{good}")


def _initial_weights(origin: Checkpoint) -> str:
    """What to say of a loss that is not finite before any step."""
    key = "init_from" if origin.config.get("init_from") else "init_std"
    value = origin.config.get(key)
    setting = "" if value is None else f": {origin.kind}.{key}={value}"
    return f"the initial weights are the cause{setting}"


def _validation_loss(run: TrainingRun, step: int, rows: IntArray, loss_of: CapturedLoss) -> float:
    """Return nats per token over all sequences; RunError if that is not finite."""
    loss = float(sequence_nll(run.model, run.config.training, rows).mean())
    if not math.isfinite(loss):
        parts = _parts(run.config.training, rows)
        raise _diverged(run, step, f"validation loss {loss}", loss_of, parts, updates=step)
    return loss


def sequence_nll(
    model: NeuralLanguageModel, training: TrainingSettings, rows: IntArray
) -> FloatArray:
    """Nats of each token of `validation_rows` but the first: (rows, sequence_length)."""
    return np.concatenate([model.nll(part) for part in _parts(training, rows)])


def _parts(training: TrainingSettings, rows: IntArray) -> Iterator[IntArray]:
    """As many rows at a time as in training, which bounds memory."""
    size = training.batch_size // training.gradient_accumulation_steps
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _resume(directory: Path, origin: Checkpoint) -> tuple[Checkpoint | None, bool]:
    """Return the last checkpoint of the run that `origin` begins, and whether it is published.

    A published one may be of other versions, as its run has finished. Without any, print why those
    that are there are not used, and return None. Each counts only together with the best of its
    run, as either alone may be left over from another run that was killed in this directory.
    """
    asked, reason = origin.identity, ""
    if (directory / LATEST).exists():
        lasting = {name: value for name, value in asked.items() if name not in VERSIONS}
        if not (why := _difference(read_trained(directory), lasting)):
            return Checkpoint.load(directory / LATEST), True
        reason = f"{directory / LATEST} {why}"
    if (directory / UNFINISHED).exists():
        try:
            found = Checkpoint.load(directory / UNFINISHED)
            best = Checkpoint.load(directory / UNFINISHED_BEST)
            if not (why := _difference(found.identity, asked) or _difference(best.identity, asked)):
                return found, False
            reason = f"{directory / UNFINISHED} {why}"
        except InputError as error:
            reason = str(error).removesuffix(f"; {REMEDY}")
    if reason:
        print(f"{reason}; starting again", flush=True)
    return None, False


def _difference(found: Mapping[str, str], asked: Mapping[str, str]) -> str:
    """Describe the first part of an identity that is not the one asked for; empty if all are."""
    if not found:
        return f"is not described by {TRAINED} beside it"
    for name, value in asked.items():
        if (other := found.get(name)) != value:
            named = name in ("kernels", *VERSIONS)
            return f"is of {name} {other}, not {value}" if named else f"is of other {name}"
    return ""


def read_trained(directory: Path) -> dict[str, str]:
    """Return the identity of the run that made the checkpoints in a folder.

    Empty where trained.json is missing, damaged or describes other files.
    """
    path = directory / TRAINED
    try:
        record = json.loads(path.read_bytes() if path.is_file() else b"{}")  # a pipe would wait
        if record["files"] == _digests(directory):
            return {str(name): str(value) for name, value in record["identity"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return {}


def _digests(directory: Path) -> dict[str, str]:
    return {name: sha256(directory / name) for name in (LATEST, BEST)}


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
    """Write the checkpoints under their final names, without what they were trained by.

    That follows in trained.json, and completes them. Repeatable, as the unfinished ones stay.
    """
    for source, name in ((UNFINISHED_BEST, BEST), (UNFINISHED, LATEST)):
        found = Checkpoint.load(directory / source)
        replace(found, trained_by={}).save(directory / name)
    write_json(directory / TRAINED, {"identity": found.identity, "files": _digests(directory)})


def discard_unfinished(directory: Path) -> None:
    """Remove what only an interrupted run would need; to be called when nothing is left to do."""
    for name in (UNFINISHED, UNFINISHED_BEST):
        (directory / name).unlink(missing_ok=True)


def _with_row(run: TrainingRun, state: Checkpoint, row: Row) -> Checkpoint:
    """The state with one more line of history, which counts for patience where there is any."""
    training = run.config.training
    row[DIGEST] = weights_digest(_values(run.model))
    if training.patience is not None:
        row[WAITED] = waited([*_scores(state), row["val_loss"]], training.min_improvement)
    return replace(state, history=(*state.history, row))


def _out_of_patience(training: TrainingSettings, state: Checkpoint) -> bool:
    return training.patience is not None and state.history[-1][WAITED] >= training.patience


def _scores(state: Checkpoint) -> list[float]:
    return [row["val_loss"] for row in state.history]


def _values(model: NeuralLanguageModel) -> Mapping[str, Array]:
    return {name: tensor.value for name, tensor in model.parameters().items()}
