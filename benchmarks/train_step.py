"""Time of one training step: forward, backward, clipping and AdamW, in float32.

    python benchmarks/train_step.py --config nano --engine torch

prints one JSON line. Each engine is alone in its process; `torch`, a peer, needs the extra `bench`.
Both train the same architecture (pre-norm blocks, biases, tanh-GELU, tied head, no dropout).
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmladder import kernels
from lmladder.arrays import IntArray
from lmladder.config import OptimizerConfig, TransformerArchitecture
from lmladder.models import build_neural
from lmladder.optim import build_optimizer, clip_scale, global_norm
from lmladder.rng import stream

import numpy as np


@dataclass(frozen=True)
class Size:
    vocabulary: int
    context: int
    layers: int
    heads: int
    width: int
    batch: int


SIZES = {
    "micro": Size(27, 16, 1, 4, 16, 1),
    "nano": Size(65, 64, 4, 4, 128, 12),
    "seed0": Size(256, 64, 2, 4, 64, 16),
    "small": Size(65, 128, 4, 4, 128, 32),
    "tinylm": Size(65, 256, 6, 6, 192, 16),
}
RATE, BETAS, EPSILON, DECAY, CLIP = 1e-3, (0.9, 0.95), 1e-8, 0.1, 1.0


def lmladder_step(size: Size) -> Callable[[IntArray], float]:
    """A function that takes one training step and returns its loss."""
    architecture = TransformerArchitecture(
        n_layer=size.layers,
        n_head=size.heads,
        d_model=size.width,
        context_length=size.context,
        activation="gelu_tanh",
        dropout=0.0,
    )
    model = build_neural(architecture, size.vocabulary, rng=stream(0, "weights"))
    parameters = model.parameters()
    config = OptimizerConfig("adamw", RATE, BETAS, EPSILON, DECAY, None, None)
    optimizer = build_optimizer(config, parameters, ())
    steps = iter(range(10**9))

    def step(rows: IntArray) -> float:
        loss = model.loss(rows)
        loss.backward()
        norm = global_norm(parameters.values())
        optimizer.step(next(steps), gradient_scale=clip_scale(norm, CLIP))
        for tensor in parameters.values():
            tensor.grad = None
        return loss.item()

    return step


def torch_step(size: Size) -> Callable[[IntArray], float]:
    """The same in PyTorch, eagerly."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(0)
    torch.set_num_threads(kernels.threads())

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
            self.qkv = nn.Linear(size.width, 3 * size.width)
            self.out = nn.Linear(size.width, size.width)
            self.expand = nn.Linear(size.width, 4 * size.width)
            self.contract = nn.Linear(4 * size.width, size.width)

        def forward(self, x: Any) -> Any:
            batch, length, width = x.shape
            parts = self.qkv(self.norm1(x)).chunk(3, dim=-1)
            q, k, v = (
                p.view(batch, length, size.heads, width // size.heads).transpose(1, 2)
                for p in parts
            )
            heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(heads.transpose(1, 2).reshape(batch, length, width))
            hidden = functional.gelu(self.expand(self.norm2(x)), approximate="tanh")
            return x + self.contract(hidden)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(size.vocabulary, size.width)
            self.positions = nn.Embedding(size.context, size.width)
            self.blocks = nn.ModuleList(Block() for _ in range(size.layers))
            self.norm = nn.LayerNorm(size.width)
            for weights in (self.tokens.weight, self.positions.weight):
                nn.init.normal_(weights, std=0.02)

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.norm(x) @ self.tokens.weight.T

    model = Model()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPSILON)

    def step(rows: IntArray) -> float:
        ids = torch.from_numpy(rows)
        logits = model(ids[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.item())

    return step


ENGINES = {"lmladder": lmladder_step, "torch": torch_step}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", choices=SIZES, default="nano")
    parser.add_argument("--engine", choices=ENGINES, default="lmladder")
    parser.add_argument("--steps", type=int, default=20, help="timed, after 3 that are not")
    arguments = parser.parse_args()
    size = SIZES[arguments.config]
    rng = stream(0, "batches")
    rows = rng.integers(0, size.vocabulary, (size.batch, size.context + 1))
    step = ENGINES[arguments.engine](size)
    losses = [step(rows) for _ in range(3)]
    milliseconds = []
    for _ in range(arguments.steps):
        started = time.perf_counter()
        losses.append(step(rows))
        milliseconds.append((time.perf_counter() - started) * 1e3)
    best = min(milliseconds)
    facts = {
        "config": arguments.config,
        "engine": arguments.engine,
        "threads": kernels.threads(),
        "min_ms": round(best, 3),
        "median_ms": round(statistics.median(milliseconds), 3),
        "tokens_per_second": round(size.batch * size.context / best * 1e3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "first_loss": round(losses[0], 4),
        "finite": bool(np.isfinite(losses).all()),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
