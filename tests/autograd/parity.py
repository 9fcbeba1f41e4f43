"""Compare the engine with PyTorch: every case of every op, then whole models.

    python tests/autograd/parity.py [OP ...]

prints a table; the extra `bench` installs PyTorch. Both sides get the same float64 arrays and the
same random upstream gradient, and the models the same weights and tokens. A difference is the
largest distance between two numbers over the largest magnitude on PyTorch's side (over 1 if all is
0 there): of the values, and of all gradients together, because one of them may be 0 but for
rounding. The exit status is 1 if a difference exceeds 1e-10.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from lmladder.autograd import Tensor
from lmladder.autograd.cases import CASES, Case
from lmladder.models import MlpSettings, RecurrentSettings, TransformerSettings
from lmladder.models.settings import GruSettings
from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.streams import stream
from tests.autograd.formulas import run_with
from tests.models.examples import build

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, everybody's name for it

Twin: TypeAlias = Callable[..., Any]  # what makes torch tensors of torch tensors

LIMIT = 1e-10

# ------------------------------------------------------------------------------- PyTorch's ops


def _axes(a: torch.Tensor, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    return tuple(range(a.ndim)) if axis is None else tuple(np.atleast_1d(axis).tolist())


def _over(reduction: Callable[..., torch.Tensor]) -> Twin:
    """A reduction of PyTorch's that takes NumPy's `axis` and `keepdims`."""

    def reduced(
        a: torch.Tensor, *, axis: Any = None, keepdims: bool = False, **options: Any
    ) -> torch.Tensor:
        return reduction(a, dim=_axes(a, axis), keepdim=keepdims, **options)

    return reduced


def _cumsum(a: torch.Tensor, *, axis: int | None = None) -> torch.Tensor:
    return a.flatten().cumsum(0) if axis is None else a.cumsum(axis)


def _expand_dims(a: torch.Tensor, *, axis: int | tuple[int, ...]) -> torch.Tensor:
    places = np.atleast_1d(axis)
    for place in sorted(places % (a.ndim + len(places))):  # in the result
        a = a.unsqueeze(place)
    return a


def _take_along_axis(a: torch.Tensor, indices: IntArray, *, axis: int) -> torch.Tensor:
    return a.take_along_dim(torch.tensor(indices % a.shape[axis]), axis)


def _scatter_add(
    a: torch.Tensor, indices: IntArray, updates: torch.Tensor, *, axis: int
) -> torch.Tensor:
    return a.scatter_add(axis, torch.tensor(indices % a.shape[axis]), updates)


def _cross_entropy(logits: torch.Tensor, targets: IntArray) -> torch.Tensor:
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), torch.tensor(targets).flatten())


def _layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, epsilon: float = 1e-5
) -> torch.Tensor:
    return F.layer_norm(x, weight.shape, weight, bias, epsilon)


def _rms_norm(x: torch.Tensor, weight: torch.Tensor, *, epsilon: float = 1e-5) -> torch.Tensor:
    return F.rms_norm(x, weight.shape, weight, epsilon)


def _causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    queries, keys = q.shape[2], k.shape[2]  # the queries are the last ones; is_causal: the first
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def _rotary(x: torch.Tensor, positions: Any, *, base: float = 10_000.0) -> torch.Tensor:
    size = x.shape[-1]
    points = torch.complex(*x.chunk(2, -1))
    places = torch.tensor(positions, dtype=x.dtype)
    angles = torch.outer(places, base ** (-2 * torch.arange(size // 2, dtype=x.dtype) / size))
    turned = points * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], -1)


def _rnn(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    states = [x.new_zeros(len(x), len(weight))]
    for given in x.unbind(1):
        states.append(torch.tanh(given + states[-1] @ weight))
    return torch.stack(states, 1)[:, 1:]


def _gru(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    by_reset, by_update, by_candidate = weight.chunk(3, -1)
    states = [x.new_zeros(len(x), len(weight))]
    for given in x.unbind(1):
        r, z, c = given.chunk(3, -1)
        h = states[-1]
        reset, update = torch.sigmoid(r + h @ by_reset), torch.sigmoid(z + h @ by_update)
        candidate = torch.tanh(c + (reset * h) @ by_candidate)
        states.append(update * h + (1 - update) * candidate)
    return torch.stack(states, 1)[:, 1:]


def _dropout(x: torch.Tensor, *, rate: float, rng: np.random.Generator) -> torch.Tensor:
    kept = rng.random(tuple(x.shape), dtype=np.float32) >= rate  # the engine's mask
    return x * torch.tensor(kept) / (1 - rate)


# Every op. Its Tensors are torch tensors here; integer and boolean arrays stay NumPy's, and options
# keep their names.
TORCH: dict[str, Twin] = {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "divide": torch.divide,
    "negative": torch.negative,
    "power": torch.pow,
    "matmul": torch.matmul,
    "einsum": lambda *arrays, subscripts: torch.einsum(subscripts, *arrays),
    "sum": _over(torch.sum),
    "mean": _over(torch.mean),
    "var": lambda a, *, ddof=0, **options: _over(torch.var)(a, correction=ddof, **options),
    "max": _over(torch.amax),  # equal maxima share the gradient; with torch.max(dim=) one wins
    "min": _over(torch.amin),
    "logsumexp": _over(torch.logsumexp),
    "norm": _over(torch.linalg.vector_norm),
    "cumsum": _cumsum,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "clip": torch.clip,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda condition, a, b: torch.where(torch.tensor(condition), a, b),
    "astype": lambda a, *, dtype: a.to(torch.tensor(np.zeros((), dtype)).dtype),
    "reshape": lambda a, *, shape: a.reshape(shape),
    "transpose": lambda a, *, axes=None: a.permute(axes or _axes(a, None)[::-1]),
    "flip": lambda a, *, axis=None: a.flip(_axes(a, axis)),
    "squeeze": lambda a, *, axis=None: a.squeeze() if axis is None else a.squeeze(axis),
    "expand_dims": _expand_dims,
    "swapaxes": lambda a, *, axis1, axis2: a.swapaxes(axis1, axis2),
    "concat": lambda *arrays, axis=0: torch.cat(arrays, axis),
    "stack": lambda *arrays, axis=0: torch.stack(arrays, axis),
    "getitem": lambda a, *, index: a[index],
    "split": lambda a, sections, *, axis=-1: a.chunk(sections, axis),
    "take_along_axis": _take_along_axis,
    "scatter_add": _scatter_add,
    "linear": lambda x, weight, bias: F.linear(x, weight.T, bias),
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "relu_squared": lambda a: F.relu(a).square(),
    "gelu": F.gelu,
    "gelu_tanh": lambda a: F.gelu(a, approximate="tanh"),
    "silu": F.silu,
    "embedding": lambda table, ids: F.embedding(torch.tensor(ids), table),
    "softmax": lambda a: a.softmax(-1),
    "log_softmax": lambda a: a.log_softmax(-1),
    "cross_entropy": _cross_entropy,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "causal_attention": _causal_attention,
    "rotary": _rotary,
    "rnn": _rnn,
    "gru": _gru,
    "dropout": _dropout,
}

# The cases, by name, whose own code PyTorch does not take.
OWN_CODE: dict[str, Twin] = {
    "add array": lambda a: torch.ones(3, dtype=a.dtype) + a,  # np.ones takes no type of PyTorch's
    "var (0, 3) {'axis': 1}": lambda a, *, axis: (  # torch.var warns of empty arrays
        (a - a.mean(axis, keepdim=True)).square().mean(axis)
    ),
    "getitem slice": lambda a: a.flip(1)[1:, ::2],  # a[1:, ::-2] of five columns: no step back
}


def run_in_torch(case: Case, *inputs: torch.Tensor) -> torch.Tensor:
    """Run a case on torch tensors."""
    if case.name in OWN_CODE:
        return OWN_CODE[case.name](*inputs, **case.options)
    return run_with(TORCH, case, *inputs)


# ------------------------------------------------------------------------------- comparing


def _distance(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Return the largest distance between two numbers over the largest magnitude of theirs."""
    pairs = [(a, b.detach().numpy()) for a, b in zip(ours, theirs, strict=True)]
    for a, b in pairs:
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ValueError(f"{a.dtype} {a.shape} here, {b.dtype} {b.shape} in PyTorch")
    distance = np.max([np.max(np.abs(a - b), initial=0) for a, b in pairs])
    largest = np.max([np.max(np.abs(b), initial=0) for _, b in pairs])
    return float(distance / (largest or 1))


def compare_case(case: Case) -> float:
    """Return the larger difference of a case, in its values or in its gradients."""
    rng = np.random.default_rng(0)
    arrays = [draw(rng) for draw in case.draws]
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    twins = [torch.tensor(array, requires_grad=True) for array in arrays]
    out, twin = case(*tensors), run_in_torch(case, *twins)
    upstream = np.asarray(rng.standard_normal(out.shape))
    out.backward(upstream)
    twin.backward(torch.tensor(upstream))
    gradients = _distance([each.grad for each in tensors], [each.grad for each in twins])
    return float(np.maximum(_distance([out.value], [twin]), gradients))  # max would lose nan


# ------------------------------------------------------------------------------- whole models

VOCABULARY, CONTEXT = 11, 8
TOKENS: IntArray = stream(0, "tokens").integers(VOCABULARY, size=(3, CONTEXT + 1))
TRANSFORMER = TransformerSettings(
    n_layer=2, n_head=2, d_model=16, context_length=CONTEXT, activation="gelu", dropout=0.0
)
MODELS: dict[str, Any] = {
    "transformer": TRANSFORMER,
    "modern transformer": replace(
        TRANSFORMER, activation="silu", gated=True, norm="rmsnorm", qk_norm=True,
        positions="rotary", bias=False, tied=False,
    ),
    "bare transformer": replace(
        TRANSFORMER, activation="relu", feed_forward_factor=2.0, norm_weights=False,
        embedding_norm=True, final_norm=False, positions="sinusoidal", attention_bias=False,
    ),
    "mlp": MlpSettings(context_length=4, embedding_size=5, hidden_sizes=[12, 7], activation="tanh"),
    "rnn": RecurrentSettings(CONTEXT, 5, [12, 7]),
    "gru": GruSettings(CONTEXT, 5, [12, 7]),
}  # fmt: skip


class Weights:
    """A model's parameters as torch tensors, by our names for them."""

    def __init__(self, arrays: dict[str, FloatArray]):
        self.tensors = {
            name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()
        }

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def linear(self, layer: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self[f"{layer}.weight"].T, self.tensors.get(f"{layer}.bias"))

    def norm(self, kind: str, layer: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (self.tensors.get(f"{layer}.{name}") for name in ("weight", "bias"))
        if kind == "rmsnorm":
            return F.rms_norm(x, x.shape[-1:], weight, 1e-5)
        return F.layer_norm(x, x.shape[-1:], weight, bias)


def transformer_logits(
    w: Weights, tokens: torch.Tensor, architecture: TransformerSettings
) -> torch.Tensor:
    """Return the logits of the Transformer in PyTorch."""
    norm = partial(w.norm, architecture.norm)
    x = F.embedding(tokens, w["tokens.weight"])
    if architecture.positions == "learned":
        x = x + w["positions.weight"][: tokens.shape[1]]
    elif architecture.positions == "sinusoidal":
        x = x * x.shape[-1] ** 0.5 + _sinusoids(*x.shape[1:])
    if architecture.embedding_norm:
        x = norm("embedding_norm", x)
    for block in (f"blocks.{layer}" for layer in range(architecture.n_layer)):
        inside = norm(f"{block}.attention_norm", x)
        q, k, v = (
            w.linear(f"{block}.attention.{name}", inside)
            .unflatten(-1, (architecture.n_head, -1))
            .transpose(1, 2)  # (batch, heads, time, head_size)
            for name in ("query", "key", "value")
        )
        if architecture.qk_norm:
            q, k = (F.rms_norm(each, each.shape[-1:], eps=1e-5) for each in (q, k))
        if architecture.positions == "rotary":
            q, k = (_rotary(each, range(each.shape[-2])) for each in (q, k))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + w.linear(f"{block}.attention.output", heads.transpose(1, 2).flatten(2))
        inside = norm(f"{block}.feed_forward_norm", x)
        hidden = w.linear(f"{block}.feed_forward.up_proj", inside)
        if architecture.gated:
            gate = w.linear(f"{block}.feed_forward.gate", inside)
            hidden = TORCH[architecture.activation](gate) * hidden
        else:
            hidden = TORCH[architecture.activation](hidden)
        x = x + w.linear(f"{block}.feed_forward.down_proj", hidden)
    x = norm("norm", x) if architecture.final_norm else x
    return x @ w["tokens.weight"].T if architecture.tied else w.linear("unembedding", x)


def _sinusoids(time: int, size: int) -> torch.Tensor:
    table = torch.zeros(time, size, dtype=torch.float64)
    for position in range(time):
        for i in range(0, size, 2):
            angle = position / 10_000 ** (i / size)
            table[position, i], table[position, i + 1] = math.sin(angle), math.cos(angle)
    return table


def recurrent_logits(w: Weights, tokens: torch.Tensor, settings: RecurrentSettings) -> torch.Tensor:
    """Return the logits of a recurrent network in PyTorch."""
    x = F.embedding(tokens, w["embedding.weight"])
    for layer in range(len(settings.hidden_sizes)):
        given = w.linear(f"layers.{layer}.input", x)
        network = "gru" if isinstance(settings, GruSettings) else "rnn"
        x = TORCH[network](given, w[f"layers.{layer}.recurrent.weight"])
    return w.linear("unembedding", x)


def mlp_logits(w: Weights, tokens: torch.Tensor, settings: MlpSettings) -> torch.Tensor:
    """Return the logits of the MLP in PyTorch."""
    layers = [f"layers.{layer}" for layer in range(len(settings.hidden_sizes))]
    context = settings.context_length
    padded = F.pad(tokens, (context - 1, 0), value=VOCABULARY)  # the number of a missing token
    windows = padded.unfold(dimension=1, size=context, step=1)  # (sequences, length, context)
    x = F.embedding(windows, w["embedding.weight"]).flatten(2)
    for layer in layers:
        x = TORCH[settings.activation](w.linear(layer, x))
    return w.linear("unembedding", x)


def compare_model(name: str) -> float:
    """Return the larger difference, in the loss or in the gradients of all parameters."""
    model = build(MODELS[name], VOCABULARY)
    model.astype(np.float64)
    parameters = model.parameters()
    for parameter, tensor in parameters.items():  # biases and norms too
        tensor.value = stream(1, parameter).normal(0, 0.5, tensor.shape)
    w = Weights({parameter: tensor.value for parameter, tensor in parameters.items()})
    tokens = torch.tensor(TOKENS)
    logits_of: Any = transformer_logits if "transformer" in name else recurrent_logits
    logits = (mlp_logits if name == "mlp" else logits_of)(w, tokens[:, :-1], MODELS[name])
    loss = model.loss(TOKENS)
    twin = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    twin.backward()
    gradients = _distance([t.grad for t in parameters.values()], [w[p].grad for p in parameters])
    return float(np.maximum(_distance([loss.value], [twin]), gradients))


def compare(name: str) -> float:
    """Return the largest difference of an op or a model."""
    if name in MODELS:
        return compare_model(name)
    return float(np.max([compare_case(case) for case in CASES if case.op == name]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = [*TORCH, *MODELS]
    parser.add_argument("names", nargs="*", metavar="OP", help="an op or a model; default: all")
    names = parser.parse_args(arguments).names or known
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown op or model {unknown[0]!r}; choose from {known}")
    found = {name: compare(name) for name in names}
    print("| op or model | difference |\n| --- | ---: |")
    for name, difference in found.items():
        print(f"| {name} | {difference:.0e} |")
    return 0 if all(each <= LIMIT for each in found.values()) else 1  # nan does not pass


if __name__ == "__main__":
    sys.exit(main())
