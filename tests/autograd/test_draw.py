"""Drawings of graphs: what they contain, and that drawing leaves the graph as it was."""

from collections.abc import Callable

from examples.draw import draw
from lmladder.autograd import Tensor

import numpy as np
import pytest


@pytest.fixture
def a() -> Tensor:
    return Tensor(np.array([1.0, 2.0]), requires_grad=True)


def test_a_graph_is_its_ops_with_their_shapes_down_to_leaves_and_constants(a: Tensor) -> None:
    assert draw((a * 3.0).sum(), names={"a": a}) == (
        "flowchart TB\n"
        '    n0(["a<br/>(2,)"])\n'
        '    n1(("3"))\n'
        '    n2["multiply<br/>(2,)"]\n'
        '    n3["sum<br/>()"]\n'
        "    n0 --> n2\n"
        "    n1 --> n2\n"
        "    n2 --> n3\n"
    )
    assert draw(Tensor(1.5)) == 'flowchart TB\n    n0(("1.5"))\n'


def test_values_and_gradients_are_written_on_request(a: Tensor) -> None:
    loss = (a * a).sum()
    text = draw(loss, values=True, gradients=True)
    assert "value [1, 2]<br/>gradient [2, 4]" in text
    assert "value" not in draw(loss)
    assert "gradient" not in draw(loss, values=True)
    mask = np.array([0.0, 1.0])
    assert '(("mask<br/>(2,)<br/>value [0, 1]"))' in draw(
        a * mask, names={"mask": mask}, values=True
    )
    long = Tensor(np.linspace(-1, 2.5, 100), requires_grad=True)
    assert "value from -1 to 2.5" in draw(long * 1.0, values=True)


def test_drawing_neither_frees_the_graph_nor_adds_up_gradients(a: Tensor) -> None:
    loss = (a * a).sum()
    assert draw(loss, gradients=True) == draw(loss, gradients=True)
    assert a.grad is None
    loss.backward()
    assert a.grad is not None
    assert a.grad.tolist() == [2, 4]


def freed(a: Tensor) -> Tensor:
    loss = a.sum()
    loss.backward()
    return loss


@pytest.mark.parametrize(
    ("wrong", "error", "named"),
    [
        (lambda a: draw(a.value), TypeError, "ndarray"),
        (lambda a: draw(freed(a)), RuntimeError, "freed"),
        (lambda a: draw(a * 1.0, gradients=True), ValueError, r"shape \(2,\)"),
    ],
    ids=["array", "freed", "gradients"],
)
def test_what_cannot_be_drawn_is_rejected_by_name(
    a: Tensor, wrong: Callable[[Tensor], str], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        wrong(a)
