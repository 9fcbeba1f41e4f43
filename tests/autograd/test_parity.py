"""The engine against PyTorch, where that is installed: every row, every kink, every neural rung."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch, the peer, comes with the extra `bench`")

from lmladder.autograd.cases import CASES, KINKS, Case, Kink  # noqa: E402
from tests.autograd import parity  # noqa: E402


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_values_and_gradients_of_every_row_are_pytorchs(case: Case) -> None:
    assert parity.compare(case).passed


# PyTorch's conventions are ours but for this one, where it has nan and we have 0. (And torch.max
# with an axis, unlike amax, lets one of equal maxima win.)
SHARED = [kink for kink in KINKS if kink.name != "logsumexp nothing"]


@pytest.mark.parametrize("kink", SHARED, ids=lambda kink: kink.name)
def test_gradients_at_kinks_and_ties_are_pytorchs(kink: Kink) -> None:
    tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in kink.inputs]
    out = parity.torch_twin(Case(kink.name, kink.function, ()))(*tensors)
    out.backward(torch.ones_like(out))
    assert [each.grad.tolist() for each in tensors] == list(kink.gradients)


@pytest.mark.parametrize("model", parity.MODELS)
def test_loss_and_gradients_of_every_neural_rung_are_pytorchs(model: str) -> None:
    assert parity.compare_model(model).passed


def test_every_op_has_a_twin() -> None:
    assert parity.TORCH.keys() == {case.op for case in CASES}


def test_every_twin_of_a_row_belongs_to_one() -> None:
    assert parity.ROWS.keys() <= {case.name for case in CASES}


@pytest.mark.parametrize("name", ["exp", "where", "transformer, gelu"])  # bare, lambda, model
def test_a_wrong_factor_is_seen(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    op = name.removeprefix("transformer, ")
    twin = parity.TORCH[op]
    assert parity.main([name]) == 0
    monkeypatch.setitem(parity.TORCH, op, lambda *inputs: twin(*inputs) * (1 + 1e-8))
    assert parity.main([name]) == 1


def test_the_table_has_an_op_or_a_model_a_row() -> None:
    title, _, add, mlp = parity.table(parity.differences(["add", "mlp, tanh"])).splitlines()
    assert title == "| op or model | rows or parameters | values | gradients |"
    assert add == f"| `add` | {sum(case.op == 'add' for case in CASES)} | 0 | 0 |"
    assert mlp.startswith("| mlp, tanh | 491 | ")


def test_an_unknown_op_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="unknown op or model 'adD'; choose from"):
        parity.differences(["adD"])
