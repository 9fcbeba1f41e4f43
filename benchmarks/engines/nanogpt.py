"""nanoGPT's recipe for a CPU in PyTorch, written from its README and configuration.

    train.py config/train_shakespeare_char.py --device=cpu --compile=False --block_size=64
        --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000
        --lr_decay_iters=2000 --dropout=0.0

Model, initial weights, batches, optimizer and schedule are the same. Three changes make it faster:
AdamW is fused, which nanoGPT does on a GPU only, batches are gathered at once, and no loss is
printed. This module does not import lmladder, which limits the threads of MKL.
"""

import math
from collections.abc import Callable

from benchmarks.engines import Weights

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
STEPS, WARM_UP_STEPS, LEARNING_RATE, LEAST_RATE = 2000, 100, 1e-3, 1e-4
BETAS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.99), 0.1, 1.0
STD = 0.02  # of initial weights

# Our names of the layers in a block, by those of nanoGPT; c_attn computes three at once.
NAMES = {
    "attn.c_attn": ("attention.query", "attention.key", "attention.value"),
    "attn.c_proj": ("attention.output",),
    "mlp.c_fc": ("feed_forward.up_proj",),
    "mlp.c_proj": ("feed_forward.down_proj",),
    "ln_1": ("attention_norm",),
    "ln_2": ("feed_forward_norm",),
}


class Attention(nn.Module):
    """Causal self-attention: (batch, time, width) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.c_proj = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            part.view(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in self.c_attn(x).split(WIDTH, dim=2)
        )
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(heads.transpose(1, 2).reshape(x.shape))


class FeedForward(nn.Module):
    """Two linear layers around the exact GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.c_fc = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.c_proj = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(functional.gelu(self.c_fc(x)))


class Block(nn.Module):
    """x + attn(ln_1(x)), then x + mlp(ln_2(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.attn, self.mlp = Attention(), FeedForward()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Model(nn.Module):
    """nanoGPT without biases and dropout; the head shares the embeddings."""

    def __init__(self, vocabulary_size: int):
        super().__init__()
        self.wte = nn.Embedding(vocabulary_size, WIDTH)
        self.wpe = nn.Embedding(CONTEXT, WIDTH)
        self.h = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                ends_branch = name.endswith("c_proj.weight")
                nn.init.normal_(parameter, std=STD / math.sqrt(2 * LAYERS) if ends_branch else STD)

    def loss(self, sequences: torch.Tensor) -> torch.Tensor:
        """Mean nats of each token but the first: (batch, length + 1) -> ()."""
        x = self.wte(sequences[:, :-1]) + self.wpe.weight[: sequences.shape[1] - 1]
        for block in self.h:
            x = block(x)
        logits = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten())

    def weights(self) -> Weights:
        """Return the weights by lmladder's names; its matrices are (in, out)."""
        state = {name: value.numpy() for name, value in self.state_dict().items()}
        found = {"tokens.weight": state["wte.weight"], "positions.weight": state["wpe.weight"]}
        found["norm.weight"] = state["ln_f.weight"]
        for layer in range(LAYERS):
            for name, ours in NAMES.items():
                parts = np.split(state[f"h.{layer}.{name}.weight"], len(ours))
                for each, part in zip(ours, parts, strict=True):
                    found[f"blocks.{layer}.{each}.weight"] = part.T
        return found


def learning_rate(step: int) -> float:
    """Return the rate of a step, counted from 0: a linear warm-up, then half a cosine."""
    if step < WARM_UP_STEPS:
        return LEARNING_RATE * (step + 1) / (WARM_UP_STEPS + 1)
    progress = (step - WARM_UP_STEPS) / (STEPS - WARM_UP_STEPS)
    return LEAST_RATE + (LEARNING_RATE - LEAST_RATE) * (1 + math.cos(math.pi * progress)) / 2


def trainer(model: Model, tokens: torch.Tensor, *, compiled: bool) -> Callable[[int], None]:
    """Return a function that takes the first n steps of the recipe, with a new optimizer.

    Parameters
    ----------
    tokens : the training text, shape (tokens,)
    compiled : forward and backward pass by torch.compile, in the first step
    """
    loss_of = torch.compile(model.loss, fullgraph=True) if compiled else model.loss
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    sequences = tokens.unfold(0, CONTEXT + 1, 1)

    def take_steps(steps: int) -> None:
        optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=True)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step)
            loss_of(sequences[torch.randint(len(sequences), (BATCH,))]).backward()
            nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            optimizer.zero_grad()

    return take_steps
