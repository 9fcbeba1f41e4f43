"""How much memory a configuration needs at least, so that what cannot fit ends before it begins.

The estimates count what training cannot do without. Measured runs take up to four times as much,
and none takes less, so that no configuration is rejected that the machine could run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from lmladder.autograd.capture import PARTS
from lmladder.config import Config
from lmladder.pipeline.rungs import Rung, rungs_of
from lmladder.system.errors import InputError
from lmladder.system.runtime import memory_limit

BYTES = 4  # of a float32


@dataclass(frozen=True)
class Need:
    """What takes how many bytes, and the settings that make it smaller, as "key=value"."""

    what: str
    bytes: int
    settings: tuple[str, ...]


def require_memory(
    config: Config, *, vocabulary_size: int = 1, val_tokens: int = 1, trains: bool = True
) -> None:
    """Raise InputError for settings that need more memory than this process may have.

    Parameters
    ----------
    vocabulary_size, val_tokens : of the prepared text; 1 while they are not known
    trains : whether the rungs are still to be trained
    """
    limit = memory_limit()
    needs = [*_of_text(config), *_of_evaluation(config, vocabulary_size, val_tokens)]
    if trains:
        for rung in rungs_of(config):
            needs += needs_of_training(rung, vocabulary_size)
    for need in needs:
        if need.bytes > limit:
            raise InputError(
                f"{need.what} would take at least {_readable(need.bytes)} of memory, but this "
                f"process may take {_readable(limit)}; make {' or '.join(need.settings)} smaller"
            )


def _given(settings: Any, keys: tuple[str, ...], path: str) -> tuple[str, ...]:
    return tuple(f"{path}{key}={attrgetter(key)(settings)}" for key in keys)


def _of_text(config: Config) -> Iterator[Need]:
    if characters := getattr(config.data, "characters", None):
        yield Need("the text", characters, (f"data.characters={characters}",))


def needs_of_training(rung: Rung, vocabulary_size: int) -> Iterator[Need]:
    """Of a rung that is trained, if its settings estimate what their model takes."""
    settings, path = rung.settings, f"{rung.name}."
    if not hasattr(settings, "estimate") or not hasattr(settings, "training"):
        return
    weights, activations = settings.estimate(vocabulary_size)
    sizes = tuple(settings.sizes)
    # Weights and optimizer state, and again where a checkpoint is written: then no gradients.
    copies = 2 * (1 + getattr(settings.optimizer, "state_arrays", 0))
    yield Need(
        f"{rung.name}: weights and optimizer state",
        BYTES * copies * weights,
        _given(settings, sizes, path),
    )
    training = settings.training
    sequences = training.batch_size // training.gradient_accumulation_steps
    tokens = sequences * training.sequence_length // PARTS  # a thread computes a part at a time
    keys = ("training.batch_size", "training.sequence_length", sizes[0])
    yield Need(
        f"{rung.name}: activations of a batch",
        BYTES * tokens * activations,
        _given(settings, keys, path),
    )


def _of_evaluation(config: Config, vocabulary_size: int, val_tokens: int) -> Iterator[Need]:
    tokens = min(config.evaluate.batch_tokens, val_tokens)
    yield Need(
        "evaluate: logits",
        BYTES * tokens * vocabulary_size,
        _given(config, ("evaluate.batch_tokens",), ""),
    )
    sample = config.sample
    if sample.beams is not None and vocabulary_size > 1:
        steps = min(sample.tokens, 64)  # after so many steps there are more texts than beams
        beams = min(sample.beams, vocabulary_size**steps)
        logits = BYTES * beams * vocabulary_size
        yield Need("samples: logits of beams", logits, _given(config, ("sample.beams",), ""))


def _readable(size: int) -> str:
    gigabytes = min(size, 10**30) / 10**9
    return f"{gigabytes:,.1f} GB" if gigabytes < 1e6 else f"{gigabytes:.1e} GB"
