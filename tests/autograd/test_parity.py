"""The engine against PyTorch, where that is installed: every op, every kink, every architecture."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch, the peer, comes with the extra `bench`")

from lmladder.autograd.cases import KINKS, Case  # noqa: E402
from lmladder.autograd.selfcheck import op_names  # noqa: E402
from tests.autograd import parity  # noqa: E402


@pytest.mark.parametrize("name", [*op_names(), *parity.MODELS])
def test_values_and_gradients_are_those_of_pytorch(name: str) -> None:
    assert parity.compare(name) <= parity.LIMIT


def test_gradients_at_kinks_and_ties_are_those_of_pytorch() -> None:
    """But for one, where PyTorch has nan; torch.max with an axis, unlike amax, lets one max win."""
    for kink in (kink for kink in KINKS if kink.name != "logsumexp nothing"):
        tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in kink.inputs]
        out = parity.run_in_torch(Case(kink.name, kink.function, ()), *tensors)
        out.backward(torch.ones_like(out))
        assert [each.grad.tolist() for each in tensors] == list(kink.gradients), kink.name


@pytest.mark.parametrize("name", ["exp", "where", "transformer"])  # an op, a lambda, a model
def test_a_wrong_factor_is_found(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    op = "gelu" if name == "transformer" else name
    twin = parity.TORCH[op]
    assert parity.main([name]) == 0
    monkeypatch.setitem(parity.TORCH, op, lambda *inputs: twin(*inputs) * (1 + 1e-8))
    assert parity.main([name]) == 1
    assert f"| {name} | " in capsys.readouterr().out
