"""The twin in PyTorch, eager and compiled, with its fused kernels wherever it has one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from benchmarks import shapes
from benchmarks.engines import Engine, Generate, Step, Weights
from benchmarks.shapes import Size

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Attention: TypeAlias = Callable[..., torch.Tensor]  # (q, k, v, is_causal=True or False)
Kept: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # a layer's keys and values, for all positions


def engine(name: str, threads: int) -> Engine:
    torch.set_num_threads(threads)
    if name == "compile":
        return Engine(torch.__version__, compiled_trainer)
    return Engine(torch.__version__, trainer, generator)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); q, k and v in one product."""

    def __init__(self, size: Size, attention: Attention):
        super().__init__()
        d, self.heads, self.attention = size.width, size.heads, attention
        self.attention_norm = nn.LayerNorm(d, eps=shapes.NORM_EPSILON)
        self.qkv = nn.Linear(d, 3 * d)
        self.output = nn.Linear(d, d)
        self.feed_forward_norm = nn.LayerNorm(d, eps=shapes.NORM_EPSILON)
        self.up_proj = nn.Linear(d, 4 * d)
        self.down_proj = nn.Linear(4 * d, d)

    def forward(self, x: torch.Tensor, kept: Kept | None, first: int) -> torch.Tensor:
        batch, length, d = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, d // self.heads).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        if kept is not None:
            for all_positions, new in zip(kept, (k, v), strict=True):
                all_positions[:, :, first : first + length] = new
            k, v = (all_positions[:, :, : first + length] for all_positions in kept)
        # One query after all keys sees them all; several at once begin where the keys do.
        heads = self.attention(q, k, v, is_causal=first == 0)
        x = x + self.output(heads.transpose(1, 2).reshape(batch, length, d))
        hidden = functional.gelu(self.up_proj(self.feed_forward_norm(x)), approximate="tanh")
        return x + self.down_proj(hidden)


class Transformer(nn.Module):
    """lmladder's Transformer, with the given weights."""

    def __init__(
        self,
        size: Size,
        weights: Weights,
        attention: Attention = functional.scaled_dot_product_attention,
    ):
        super().__init__()
        self.size = size
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleList(Block(size, attention) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width, eps=shapes.NORM_EPSILON)
        self.load_state_dict(torch_names(size, weights))

    def forward(
        self, ids: torch.Tensor, kept: Sequence[Kept] | None = None, first: int = 0
    ) -> torch.Tensor:
        """Hidden vectors of ids, which stand at position `first` and after."""
        x = self.tokens(ids) + self.positions.weight[first : first + ids.shape[1]]
        for index, block in enumerate(self.blocks):
            x = block(x, None if kept is None else kept[index], first)
        return self.norm(x)

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        logits = self(rows[:, :-1]) @ self.tokens.weight.T
        return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

    def next_logits(
        self, ids: torch.Tensor, kept: Sequence[Kept] | None, first: int
    ) -> torch.Tensor:
        return self(ids, kept, first)[:, -1] @ self.tokens.weight.T

    def empty_cache(self) -> list[Kept]:
        size = self.size
        shape = (1, size.heads, size.context, size.width // size.heads)
        return [(torch.empty(shape), torch.empty(shape)) for _ in range(size.layers)]


def torch_names(size: Size, weights: Weights) -> dict[str, torch.Tensor]:
    """The weights by the names of `Transformer`; PyTorch keeps matrices as (out, in)."""
    state = {
        name: torch.tensor(weights[name])
        for name in ("tokens.weight", "positions.weight", "norm.weight", "norm.bias")
    }

    def linear(prefix: str, *names: str) -> None:
        joined = np.concatenate([weights[f"{name}.weight"] for name in names], axis=1)
        state[f"{prefix}.weight"] = torch.tensor(joined.T.copy())
        state[f"{prefix}.bias"] = torch.tensor(
            np.concatenate([weights[f"{name}.bias"] for name in names])
        )

    for layer in range(size.layers):
        block = f"blocks.{layer}"
        for norm in ("attention_norm", "feed_forward_norm"):
            for kind in ("weight", "bias"):
                state[f"{block}.{norm}.{kind}"] = torch.tensor(weights[f"{block}.{norm}.{kind}"])
        attention, feed_forward = f"{block}.attention", f"{block}.feed_forward"
        linear(f"{block}.qkv", *(f"{attention}.{part}" for part in ("query", "key", "value")))
        linear(f"{block}.output", f"{attention}.output")
        linear(f"{block}.up_proj", f"{feed_forward}.up_proj")
        linear(f"{block}.down_proj", f"{feed_forward}.down_proj")
    return state


def explicit_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, is_causal: bool
) -> torch.Tensor:
    """What scaled_dot_product_attention computes, as products that can be counted."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if is_causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    return scores.softmax(dim=-1) @ v


def trainer(size: Size, weights: Weights) -> Step:
    model = Transformer(size, weights)
    return _trainer(model, model.loss)


def compiled_trainer(size: Size, weights: Weights) -> Step:
    """Forward and backward compiled; the optimizer's fused step is one call as it is."""
    model = Transformer(size, weights)
    return _trainer(model, torch.compile(model.loss, fullgraph=True))


def _trainer(model: Transformer, loss_of: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": shapes.WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=shapes.LEARNING_RATE, betas=shapes.BETAS, eps=shapes.EPSILON, fused=True
    )

    def step(rows: Any) -> float:
        loss = loss_of(torch.from_numpy(rows))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, shapes.CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.item())

    return step


def generator(size: Size, weights: Weights, cache: bool | None) -> Generate:
    """lmladder's loop: the window moves on by half a context when the text outgrows it."""
    model = Transformer(size, weights)

    def generate(prompt: Sequence[int], *, tokens: int, temperature: float) -> Iterator[int]:
        draws = torch.Generator().manual_seed(0)
        text, start = list(prompt), 0
        kept = model.empty_cache() if cache is not False else None
        known = 0  # how many tokens of the window `kept` has
        for _ in range(tokens):
            while len(text) - start > size.context:
                start, known = start + max(1, size.context // 2), 0
            with torch.inference_mode():
                ids = torch.tensor([text[start + known :]])
                logits = model.next_logits(ids, kept, known)[0]
                if temperature == 0:
                    token = int(logits.argmax())
                else:
                    odds = (logits / temperature).softmax(dim=-1)
                    token = int(torch.multinomial(odds, 1, generator=draws))
            if kept is not None:
                known = len(text) - start
            text.append(token)
            yield token

    return generate
