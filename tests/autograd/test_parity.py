"""Values and gradients of the ops against PyTorch, where that is installed.

Ops that only rearrange, and those that PyTorch lacks, have formulas as their judges.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from lmladder.system.arrays import IntArray
from tests.autograd.cases import cases_of
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
    """Return a reduction of PyTorch that takes NumPy's `axis` and `keepdims`."""

    def reduced(
        a: torch.Tensor, *, axis: Any = None, keepdims: bool = False, **options: Any
    ) -> torch.Tensor:
        return reduction(a, dim=_axes(a, axis), keepdim=keepdims, **options)

    return reduced


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


def _causal_convolution(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    lags, n = weight.shape
    if not lags or not x.shape[1]:  # which conv1d rejects
        return x + 0 * weight.sum()
    padded = F.pad(x.mT, (lags - 1, 0))
    taps = weight.flip(0).T[:, None]
    return x + F.conv1d(padded, taps, groups=n).mT


# Ops of the same name, arguments and options in PyTorch.
SAME = (
    torch.add, torch.subtract, torch.multiply, torch.divide, torch.negative, torch.matmul,
    torch.exp, torch.log, torch.sqrt, torch.tanh, torch.abs, torch.clip, torch.maximum,
    torch.minimum, torch.sigmoid, F.relu, F.gelu,
)  # fmt: skip
TORCH: dict[str, Twin] = {
    **{each.__name__: each for each in SAME},
    "power": torch.pow,
    "einsum": lambda *arrays, subscripts: torch.einsum(subscripts, *arrays),
    "sum": _over(torch.sum),
    "mean": _over(torch.mean),
    "max": _over(torch.amax),  # equal maxima share the gradient; with torch.max(dim=) one wins
    "min": _over(torch.amin),
    "logsumexp": _over(torch.logsumexp),
    "linear": lambda x, weight, bias: F.linear(x, weight.T, bias),
    "relu_squared": lambda a: F.relu(a).square(),
    "gelu_tanh": lambda a: F.gelu(a, approximate="tanh"),
    "softmax": lambda a: a.softmax(-1),
    "log_softmax": lambda a: a.log_softmax(-1),
    "cross_entropy": _cross_entropy,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "causal_attention": _causal_attention,
    "causal_convolution": _causal_convolution,
}
OTHER_CODE = {"add array"}  # np.ones takes no type of PyTorch's


def distance(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Return the largest distance between two numbers over the largest magnitude of theirs."""
    pairs = [(a, b.detach().numpy()) for a, b in zip(ours, theirs, strict=True)]
    for a, b in pairs:
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    largest = np.max([np.max(np.abs(b), initial=0) for _, b in pairs])
    return float(np.max([np.max(np.abs(a - b), initial=0) for a, b in pairs]) / (largest or 1))


@pytest.mark.parametrize("op", TORCH)
def test_values_and_gradients_are_those_of_pytorch(op: str) -> None:
    for case in (each for each in cases_of(op) if each.name not in OTHER_CODE):
        tensors, rng = case.leaves()
        twins = [torch.tensor(each.value, requires_grad=True) for each in tensors]
        out, twin = case(*tensors), run_with(TORCH, case, *twins)
        upstream = np.asarray(rng.standard_normal(out.shape))
        out.backward(upstream)
        twin.backward(torch.tensor(upstream))
        assert distance([out.value], [twin]) < 1e-10, case.name
        gradients = [each.grad for each in tensors], [each.grad for each in twins]
        assert distance(*gradients) < 1e-10, case.name
