"""lmladder itself.

    python benchmarks/engines/ours.py VOCABULARY CONTEXT LAYERS HEADS WIDTH BATCH FILE.npz

writes the weights of a new model, for the other engines to start from.
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks import shapes
from benchmarks.engines import Engine, Generate, Step, Weights
from benchmarks.shapes import Size
from lmladder import kernels
from lmladder.autograd import CapturedLoss
from lmladder.interop.gpt2 import FIXED
from lmladder.models import NeuralLanguageModel
from lmladder.models.transformer import Transformer, TransformerSettings
from lmladder.optim import AdamW, AdamWSettings, clip_scale, global_norm
from lmladder.sampling import Strategy, generate
from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream

import numpy as np


def engine(name: str, threads: int) -> Engine:
    kernels.set_threads(threads)
    try:
        own = metadata.version("lmladder")
    except metadata.PackageNotFoundError:  # not installed, on PYTHONPATH
        own = "from source"
    return Engine(f"{own} on NumPy {np.__version__}", trainer, generator)


def new_model(size: Size, **changes: Any) -> NeuralLanguageModel:
    shape: dict[str, Any] = FIXED | {  # of GPT-2
        "n_layer": size.layers,
        "n_head": size.heads,
        "d_model": size.width,
        "context_length": size.context,
        "activation": "gelu_tanh",
        "dropout": 0.0,
        "tied": True,
        "init_std": 0.02,
    }
    architecture = TransformerSettings(**shape | changes)
    return Transformer(architecture, size.vocabulary, rng=stream(0, "weights"))


def training(
    size: Size, weights: "Weights | None", **changes: Any
) -> tuple[CapturedLoss, Callable[[], None]]:
    """A new model's loss, and what brings its gradients into its weights and then drops them.

    `changes` are settings of the model; without weights it has those that it draws.
    """
    model = new_model(size, **changes)
    if weights is not None:
        model.load(weights)
    parameters = model.parameters()
    config = AdamWSettings(
        name="adamw",
        learning_rate=shapes.LEARNING_RATE,
        betas=[*shapes.BETAS],
        epsilon=shapes.EPSILON,
        weight_decay=shapes.WEIGHT_DECAY,
    )
    optimizer = AdamW(parameters, config, ())
    numbers = itertools.count()

    def update() -> None:
        norm = global_norm(parameters.values())
        optimizer.step(next(numbers), gradient_scale=clip_scale(norm, shapes.CLIP_NORM))
        for tensor in parameters.values():
            tensor.grad = None

    return CapturedLoss(model.loss, parameters.values()), update


def trainer(size: Size, weights: "Weights | None", **changes: Any) -> Step:
    loss_of, update = training(size, weights, **changes)

    def step(rows: IntArray) -> float:
        loss = loss_of(rows)
        update()
        return loss

    return step


def generator(size: Size, weights: Weights, cache: bool | None) -> Generate:
    model = new_model(size)
    model.load(weights)

    def ours(prompt: Sequence[int], *, tokens: int, temperature: float) -> Iterator[int]:
        strategy = Strategy.model_validate({"temperature": temperature})
        return generate(
            model, prompt, tokens=tokens, strategy=strategy, seed=0, cache=cache is not False
        )

    return ours


if __name__ == "__main__":
    *numbers, file = sys.argv[1:]
    parameters = new_model(Size(*map(int, numbers))).parameters()
    arrays: dict[str, Any] = {name: each.value for name, each in parameters.items()}
    np.savez(file, **arrays)
