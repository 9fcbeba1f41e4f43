"""Values and gradients of the ops against PyTorch, where that is installed.

PyTorch has no recurrent networks of our form and draws other dropout masks; formulas judge these.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from lmladder.autograd import Tensor
from lmladder.autograd.cases import CASES, KINKS, Case
from lmladder.system.arrays import IntArray
from tests.autograd.formulas import run_with

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch, the peer, comes with the extra `bench`")

import torch.nn.functional as F  # noqa: E402, N812, everybody's name for it

Twin: TypeAlias = Callable[..., Any]  # what makes torch tensors of torch tensors

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


def distance(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Return the largest distance between two numbers over the largest magnitude of theirs."""
    pairs = [(a, b.detach().numpy()) for a, b in zip(ours, theirs, strict=True)]
    for a, b in pairs:
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    largest = np.max([np.max(np.abs(b), initial=0) for _, b in pairs])
    return float(np.max([np.max(np.abs(a - b), initial=0) for a, b in pairs]) / (largest or 1))


@pytest.mark.parametrize("op", TORCH)
def test_values_and_gradients_are_those_of_pytorch(op: str) -> None:
    for case in (case for case in CASES if case.op == op):
        rng = np.random.default_rng(0)
        arrays = [draw(rng) for draw in case.draws]
        tensors = [Tensor(array, requires_grad=True) for array in arrays]
        twins = [torch.tensor(array, requires_grad=True) for array in arrays]
        out, twin = case(*tensors), run_in_torch(case, *twins)
        upstream = np.asarray(rng.standard_normal(out.shape))
        out.backward(upstream)
        twin.backward(torch.tensor(upstream))
        assert distance([out.value], [twin]) < 1e-10, case.name
        gradients = [each.grad for each in tensors], [each.grad for each in twins]
        assert distance(*gradients) < 1e-10, case.name


@pytest.mark.parametrize("kink", KINKS, ids=lambda kink: kink.name)
def test_gradients_at_kinks_and_ties_are_those_of_pytorch(kink: Any) -> None:
    """One is not: torch.max with an axis, unlike amax, gives the whole gradient to one maximum."""
    if kink.name == "logsumexp nothing":
        pytest.skip("PyTorch gives nan")
    tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in kink.inputs]
    out = run_in_torch(Case(kink.name, kink.function, (), {}), *tensors)
    out.backward(torch.ones_like(out))
    assert [each.grad.tolist() for each in tensors] == list(kink.gradients)
