"""One Transformer in several engines, each a module that is imported only when it is asked for."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol, TypeAlias

from benchmarks.measure import UnavailableError, in_fresh_process
from benchmarks.shapes import Size

if TYPE_CHECKING:
    from lmladder.system.arrays import FloatArray, IntArray

Weights: TypeAlias = "Mapping[str, FloatArray]"  # by lmladder's names
Step: TypeAlias = "Callable[[IntArray], float]"  # trains on (batch, context + 1), returns the loss


class Generate(Protocol):
    """Yields tokens that continue a prompt; the likeliest ones at temperature 0."""

    def __call__(
        self, prompt: Sequence[int], *, tokens: int, temperature: float
    ) -> Iterator[int]: ...


@dataclass(frozen=True)
class Engine:
    """What an engine's module makes.

    Attributes
    ----------
    version : of the engine
    trainer : makes a model with the given weights and its optimizer
    generator : makes a model that generates; `cache` determines whether it stores keys and values,
        None: the engine's default. None if the engine has no generator
    """

    version: str
    trainer: Callable[[Size, Weights], Step]
    generator: Callable[[Size, Weights, bool | None], Generate] | None = None


MODULES = {"lmladder": "ours", "torch": "pytorch", "compile": "pytorch", "jax": "xla"}
ENGINES = tuple(MODULES)


def load(name: str, threads: int) -> Engine:
    """Import the engine of that name, for `threads` cores from now on.

    Raises
    ------
    UnavailableError
        If it is not installed.
    """
    if hasattr(os, "sched_setaffinity"):  # not all engines ask how many threads they may have
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])
    try:
        module = import_module(f"benchmarks.engines.{MODULES[name]}")
    except ImportError as error:
        raise UnavailableError(f"engine {name!r} is not available: {error}") from error
    engine: Engine = module.engine(name, threads)
    return engine


def initial_weights(size: Size) -> Weights:
    """Those of a new model of lmladder's, made in a process of its own."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "weights.npz"
        in_fresh_process("engines/ours.py", *astuple(size), file)

        import numpy as np

        with np.load(file) as arrays:
            return dict(arrays)
