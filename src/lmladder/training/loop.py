"""The training loop, for every model that is trained by gradients.

A run is a pure function of its configuration, seed, data, kernels, code and versions. Its state
after a step is in one checkpoint, so it may be killed at any time: started again, it resumes from
the last checkpoint and ends with the same bytes. The files of an unfinished run have names of their
own. A finished run writes its checkpoints under the final names. These contain no digest of code,
which is in trained.json in the work folder.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from lmladder.autograd import CapturedLoss, Tensor
from lmladder.data.batches import get_batch, validation_sequences
from lmladder.nn import Module
from lmladder.optim import Optimizer, build_optimizer, clip_scale, global_norm
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError, RunError
from lmladder.system.files import atomic_write, make_folder, sha256, work_folder, write_json
from lmladder.system.interrupts import deferred
from lmladder.system.messages import say
from lmladder.system.progress import TrainingProgress
from lmladder.system.streams import stream
from lmladder.training import history
from lmladder.training.checkpoint import BEST, LATEST, REMEDY, TRAINED, Checkpoint, weights_digest
from lmladder.training.gradient_norms import first_not_finite, parameter_groups
from lmladder.training.history import DIGEST, GROUP_NORM, PATIENCE, Measured
from lmladder.training.settings import GradientSettings, TrainingSettings

import numpy as np

UNFINISHED, UNFINISHED_BEST = "unfinished.safetensors", "unfinished-best.safetensors"
HISTORY = "history.csv"
VERSIONS = ("numpy", "numba")  # of which the identity of a run has those in use


class Trainable(Module):
    """What the loop requires of a model; `NeuralLanguageModel` describes the functions.

    Attributes
    ----------
    splits_batches : the loss of a batch may be computed as the mean over parts of its sequences
    """

    splits_batches: ClassVar[bool] = True

    def loss(self, tokens: IntArray, rng: np.random.Generator | None = None) -> Tensor:
        raise NotImplementedError

    def nll(self, tokens: IntArray) -> FloatArray:
        raise NotImplementedError

    def hidden_matrices(self) -> list[str]:
        raise NotImplementedError


@dataclass(frozen=True)
class TrainingRun:
    """Everything that determines a run, and where it writes.

    Attributes
    ----------
    model : newly built; trained in place
    origin : its checkpoint before the first step, without arrays
    config : optimizer, schedule and training settings
    train, val : tokens, shape (tokens,)
    directory : existing folder of the checkpoints and history.csv
    """

    model: Trainable
    origin: Checkpoint
    config: GradientSettings
    train: IntArray
    val: IntArray
    directory: Path

    @cached_property
    def parameters(self) -> Mapping[str, Tensor]:
        """The parameters of the model by name."""
        return self.model.parameters()

    @cached_property
    def loss(self) -> CapturedLoss:
        """The loss of a micro-batch, as its share of the loss of a batch."""
        share = 1 / self.config.training.gradient_accumulation_steps
        split = self.model.splits_batches
        return CapturedLoss(self.model.loss, self.parameters.values(), share=share, split=split)

    @cached_property
    def validation(self) -> IntArray:
        """The sequences of an evaluation, shape (sequences, sequence_length + 1)."""
        training = self.config.training
        return validation_sequences(self.val, training.sequence_length, training.evaluate_tokens)


def train(run: TrainingRun, watch: Callable[[Checkpoint], None] = lambda state: None) -> Checkpoint:
    """Train to the configured step, or until patience ends; write checkpoints and history.

    Returns the last checkpoint.

    Parameters
    ----------
    watch : called with each state that has a new row of history; before the first step with one
        without arrays. An exception that it raises ends the run.

    Raises
    ------
    InputError
        If the settings do not fit the data, such as a text shorter than a sequence.
    RunError
        If the loss or its gradient is not finite; the last checkpoint remains.
    KeyboardInterrupt
        If a signal requested a stop; the step that was running is in a checkpoint.
    """
    run = replace(run)  # a copy, so that what it caches is freed when this call ends
    training, model, kind = run.config.training, run.model, run.origin.kind
    optimizer = build_optimizer(run.config.optimizer, run.parameters, model.hidden_matrices())
    state, published = _resume(run.directory, run.origin)
    if state is None:
        state = _evaluate(run, run.origin, 0)
        watch(state)
    else:
        print(f"{kind}: resuming from step {state.step}", flush=True)
        model.load(state.model)
        optimizer.load_state(state.optimizer)
    tokens_per_step = training.batch_size * training.sequence_length
    progress = TrainingProgress(kind, state.step, training.steps, tokens_per_step)
    pending, slow = list(state.pending), None
    with progress, deferred() as interrupt:
        for step in range(state.step, training.steps):
            if training.patience is not None and state.history[-1][PATIENCE] >= training.patience:
                break
            pending.append(_take_step(run, optimizer, step))
            if slow is None and (slow := run.loss.untraceable_reason) is not None:
                say(f"{kind}: steps cannot be replayed and take longer: {slow}")
            done, loss = step + 1, pending[-1]["train_loss"]
            progress.step(done, loss)
            evaluate = done % training.evaluate_every == 0 or done == training.steps
            if evaluate:
                state = _evaluate(run, state, done, pending)
                pending.clear()
            if evaluate or interrupt.signal is not None:
                state = replace(
                    state,
                    step=done,
                    pending=tuple(pending),
                    model=_values(model),
                    optimizer=optimizer.state(),
                )
                _save(run.directory, state)
            if evaluate:
                watch(state)
                row = state.history[-1]
                progress.evaluated(done, row["train_loss"], row["val_loss"])
            interrupt.raise_now()
    if state.step < training.steps:
        print(
            f"{kind}: stopped at step {state.step} of {training.steps}, "
            f"after {training.patience} evaluations without improvement",
            flush=True,
        )
    if not published:
        _publish(run.directory)
    groups = parameter_groups(model) if training.monitor_every else {}
    table = history.as_csv(state.history, history.columns(training, groups))
    atomic_write(run.directory / HISTORY, table.encode())
    return state


def _take_step(run: TrainingRun, optimizer: Optimizer, step: int) -> Measured:
    """Compute the gradient of one batch and update the weights; return what was measured."""
    training, seed = run.config.training, run.origin.seed
    length = training.sequence_length + 1
    batch = get_batch(
        run.train, batch_size=training.batch_size, length=length, step=step, seed=seed
    )
    micro_batches = np.split(batch, training.gradient_accumulation_steps)
    dropout = stream(seed, "dropout", step)
    loss = math.fsum(run.loss(sequences, dropout) for sequences in micro_batches)
    norm = global_norm(run.parameters.values())
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"loss {loss} and gradient norm {norm} at step {step + 1}"
        raise _diverged(run, what, step, micro_batches, stream(seed, "dropout", step))
    measured = {"train_loss": loss, "gradient_norm": norm}
    if training.monitor_every and (step + 1) % training.monitor_every == 0:
        groups = parameter_groups(run.model)
        measured |= {GROUP_NORM + name: global_norm(each) for name, each in groups.items()}
    factor = run.config.schedule.factor(step, training.steps)
    scale = clip_scale(norm, training.clip_norm)
    optimizer.step(step, factor=factor, gradient_scale=scale)
    for tensor in run.parameters.values():
        tensor.grad = None
    return measured


def _evaluate(
    run: TrainingRun, state: Checkpoint, step: int, measured: Iterable[Measured] = ()
) -> Checkpoint:
    """Return the state with one more row of history: the losses after `step` steps.

    Parameters
    ----------
    measured : of each step since the row before it

    Raises
    ------
    RunError
        If the validation loss is not finite.
    """
    training = run.config.training
    loss = float(sequence_nll(run.model, training, run.validation).mean())
    if not math.isfinite(loss):
        batches = _batches(training, run.validation)
        raise _diverged(run, f"validation loss {loss} at step {step}", step, batches)
    row = {
        "step": step,
        "tokens": step * training.batch_size * training.sequence_length,
        "val_loss": loss,
        DIGEST: weights_digest(_values(run.model)),
    }
    if step:
        row["learning_rate_factor"] = run.config.schedule.factor(step - 1, training.steps)
        row |= history.summary(measured)
    if training.patience is not None:
        losses = [*_val_losses(state), loss]
        row[PATIENCE] = history.evaluations_without_improvement(losses, training.min_improvement)
    return replace(state, history=(*state.history, row))


def _diverged(
    run: TrainingRun,
    what: str,
    updates: int,
    batches: Iterable[IntArray],
    rng: np.random.Generator | None = None,
) -> RunError:
    """Return the error for a loss that is not finite: where that begins, and why.

    Parameters
    ----------
    what : is not finite, and at which step
    updates : how often the weights have changed
    batches : the parts of the batch with that loss
    rng : for dropout, at the beginning of its stream, so that each part draws the same values again
    """
    with closing(loss for each in batches for loss in run.loss.losses(each, rng)) as losses:
        where = first_not_finite(run.model, losses)
    begins = f"; the first that is not finite is {where}" if where else ""
    advice = "try a lower learning rate" if updates else "the initial weights are the cause"
    last = work_folder(run.directory) / UNFINISHED
    remains = f"; the last good checkpoint is {last}" if last.exists() else ""
    return RunError(f"{run.origin.kind}: {what}{begins}; {advice}{remains}")


def sequence_nll(model: Trainable, training: TrainingSettings, sequences: IntArray) -> FloatArray:
    """Return the nats of each token but the first of each sequence.

    Shapes: (sequences, length + 1) -> (sequences, length).
    """
    return np.concatenate([model.nll(batch) for batch in _batches(training, sequences)])


def _batches(training: TrainingSettings, sequences: IntArray) -> Iterator[IntArray]:
    """Yield as many sequences at a time as in training, which bounds memory."""
    size = training.batch_size // training.gradient_accumulation_steps
    return (sequences[first : first + size] for first in range(0, len(sequences), size))


def _resume(directory: Path, origin: Checkpoint) -> tuple[Checkpoint | None, bool]:
    """Return the last checkpoint of the run that `origin` begins, and whether it is published.

    Without any, print why the existing ones are not used, and return None. An unfinished one counts
    only together with the best of its run, as either alone may be left from another run that was
    killed in this folder.
    """
    work, latest, reason = work_folder(directory), directory / LATEST, ""
    if trained := _trained(directory):
        reason = _difference(latest, origin, trained)
        if not reason:
            return Checkpoint.load(latest), True
    unfinished = work / UNFINISHED
    if unfinished.exists():
        try:
            found, best = Checkpoint.load(unfinished), Checkpoint.load(work / UNFINISHED_BEST)
            if not (reason := _difference(unfinished, origin, found.identity, best.identity)):
                return found, False
        except InputError as error:
            reason = str(error).removesuffix(f"; {REMEDY}")
    if reason:
        print(f"{reason}; starting again", flush=True)
    return None, False


def _difference(path: Path, origin: Checkpoint, *identities: Mapping[str, str]) -> str:
    """Describe the first part of an identity that is not that of `origin`; empty if all are."""
    for found in identities:
        for name, value in origin.identity.items():
            if (other := found.get(name)) != value:
                readable = name in ("kernels", *VERSIONS)
                difference = f"{name} {other}, not {value}" if readable else f"other {name}"
                return f"{path} is of {difference}"
    return ""


def _trained(directory: Path) -> dict[str, str]:
    """Return the identity of the run that made the checkpoints in a folder; empty if unknown."""
    try:
        record = json.loads((work_folder(directory) / TRAINED).read_bytes())
        return dict(record["identity"]) if record["files"] == _digests(directory) else {}
    except (OSError, ValueError):
        return {}


def _digests(directory: Path) -> dict[str, str]:
    return {name: sha256(directory / name) for name in (LATEST, BEST)}


def _save(directory: Path, state: Checkpoint) -> None:
    """Save the state; before that, if it is the best so far, save it as the best.

    In this order a kill between the two loses nothing: the step is repeated, with the same bytes.
    A state before the first evaluation counts as the best.
    """
    losses, work = _val_losses(state)[1:], work_folder(directory)
    make_folder(work)
    if not losses or (losses[-1] == min(losses) and not state.pending):
        state.save(work / UNFINISHED_BEST)
    state.save(work / UNFINISHED)


def _publish(directory: Path) -> None:
    """Write the checkpoints under their final names, without what they were trained by.

    That follows in trained.json, and completes them. Repeatable, as the unfinished ones remain.
    """
    for source, name in ((UNFINISHED_BEST, BEST), (UNFINISHED, LATEST)):
        found = Checkpoint.load(work_folder(directory) / source)
        replace(found, trained_by={}).save(directory / name)
    record = {"identity": found.identity, "files": _digests(directory)}
    write_json(work_folder(directory) / TRAINED, record)


def discard_unfinished(directory: Path) -> None:
    """Remove the files that only an interrupted run needs; call it when the run has finished."""
    for name in (UNFINISHED, UNFINISHED_BEST):
        (work_folder(directory) / name).unlink(missing_ok=True)


def _val_losses(state: Checkpoint) -> list[float]:
    return [row["val_loss"] for row in state.history]


def _values(model: Trainable) -> Mapping[str, Array]:
    return {name: tensor.value for name, tensor in model.parameters().items()}
