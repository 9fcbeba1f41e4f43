"""A lower bound of the memory that a configuration needs, checked before any work begins.

The estimates contain only what training always needs. Measured runs need up to four times as much
and never less, so no configuration is rejected that the machine could run.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from lmladder.autograd.capture import PARTS
from lmladder.config import Config
from lmladder.pipeline.rungs import Rung, rungs_of
from lmladder.system.errors import InputError
from lmladder.system.runtime import memory_limit
from lmladder.system.settings import dotted

BYTES = 4  # of a float32


class Need(NamedTuple):
    """What needs how many bytes, and the keys of the settings that reduce it."""

    what: str
    bytes: int
    keys: list[str]


def require_memory(
    config: Config, *, vocabulary_size: int = 1, val_tokens: int = 1, trains: bool = True
) -> None:
    """Raise InputError for settings that need more memory than this process may use.

    Parameters
    ----------
    vocabulary_size, val_tokens : of the prepared text; 1 before they are known
    trains : whether the rungs are still to be trained
    """
    limit = memory_limit()
    needs = [*_needs_of_text(config), *_needs_of_evaluation(config, vocabulary_size, val_tokens)]
    if trains:
        for rung in rungs_of(config):
            needs += needs_of_training(rung, vocabulary_size)
    for need in needs:
        if need.bytes > limit:
            values = dotted(asdict(config))
            settings = " or ".join(f"{key}={values[key]}" for key in need.keys)
            raise InputError(
                f"{need.what} would need at least {_readable(need.bytes)} of memory, but this "
                f"process may use {_readable(limit)}; make {settings} smaller"
            )


def _needs_of_text(config: Config) -> Iterator[Need]:
    if characters := getattr(config.data, "characters", None):
        yield Need("the text", characters, ["data.characters"])


def needs_of_training(rung: Rung, vocabulary_size: int) -> Iterator[Need]:
    """Yield the needs of a rung whose settings estimate the size of its model."""
    settings = rung.settings
    if not hasattr(settings, "estimate") or not hasattr(settings, "training"):
        return
    sizes = [f"{rung.key}.{each}" for each in settings.sizes]
    weights, activations = settings.estimate(vocabulary_size)
    # Weights and optimizer state, and again while a checkpoint is written: then no gradients.
    copies = 2 * (1 + getattr(settings.optimizer, "state_arrays", 0))
    yield Need(f"{rung.name}: weights and optimizer state", BYTES * copies * weights, sizes)
    training = settings.training
    sequences = training.batch_size // training.gradient_accumulation_steps
    tokens = sequences * training.sequence_length // PARTS  # a thread computes a part at a time
    keys = [f"{rung.key}.training.{each}" for each in ("batch_size", "sequence_length")]
    what = f"{rung.name}: activations of a batch"
    yield Need(what, BYTES * tokens * activations, [*keys, sizes[0]])


def _needs_of_evaluation(config: Config, vocabulary_size: int, val_tokens: int) -> Iterator[Need]:
    tokens = min(config.evaluate.batch_tokens, val_tokens)
    yield Need("evaluate: logits", BYTES * tokens * vocabulary_size, ["evaluate.batch_tokens"])
    sample = config.sample
    if sample.beams is not None and vocabulary_size > 1:
        steps = min(sample.tokens, 64)  # enough for more texts than beams
        beams = min(sample.beams, vocabulary_size**steps)
        yield Need("samples: logits of beams", BYTES * beams * vocabulary_size, ["sample.beams"])


def _readable(size: int) -> str:
    gigabytes = min(size, 10**30) / 10**9
    return f"{gigabytes:,.1f} GB" if gigabytes < 1e6 else f"{gigabytes:.1e} GB"
