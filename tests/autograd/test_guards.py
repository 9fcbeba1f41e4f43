"""Ctrl-C where there is a graph: its traceback may be kept, as a notebook keeps it."""

import threading
from typing import NoReturn

from lmladder.autograd import Tensor, functional, guards
from lmladder.kernels import reference
from tests.autograd.test_tensor import leaf
from tests.kernels.test_blocks import interrupted_at

import numpy as np
import pytest


def interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kernel", ["gelu", "gelu_backward"])
def test_ctrl_c_in_an_op_or_in_its_pullback_unlocks_what_the_thread_has_locked(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, x, other = leaf(1.0, 2.0), np.array([3.0, 4.0]), leaf(5.0)
    shifted = other + 1.0
    monkeypatch.setattr(reference, kernel, interrupt)

    def step() -> None:
        product = weight * x
        functional.gelu(product).sum().backward()

    with pytest.raises(KeyboardInterrupt) as kept:
        step()
    weight.value[0] = x[0] = other.value[0] = 7
    assert kept.value.__traceback__ is not None
    with pytest.raises(RuntimeError, match="Ctrl-C released it; compute the result again"):
        shifted.backward()
    assert other.grad is None
    monkeypatch.undo()
    step()
    assert weight.value.flags.writeable
    assert weight.grad is not None


def test_ctrl_c_leaves_what_another_thread_has_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, graphs = leaf(1.0, 2.0), list[Tensor]()
    thread = threading.Thread(target=lambda: graphs.append((weight * 3.0).sum()))
    thread.start()
    thread.join()
    monkeypatch.setattr(reference, "gelu", interrupt)
    with pytest.raises(KeyboardInterrupt):
        functional.gelu(leaf(1.0) * 2.0)
    assert not weight.value.flags.writeable
    graphs.pop().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [3, 3]
    assert weight.value.flags.writeable


def test_what_was_released_is_locked_by_a_later_graph_until_that_one_is_gone() -> None:
    weight = leaf(1.0, 2.0)
    first = weight * 2.0
    guards.release([weight.value])
    second = weight * 3.0
    del first
    with pytest.raises(ValueError, match="read-only"):
        weight.value[0] = 5
    second.backward(np.ones(2))
    weight.value[0] = 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("method", ["__init__", "_unlock_all"])
def test_ctrl_c_at_any_instruction_of_a_guard_locks_nothing_for_good_and_unlocks_no_other(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the end of a `with` and its `__exit__`, where only a trace function can raise, the
    # mutex would stay locked for other threads.
    monkeypatch.setattr(guards, "_mutex", threading.RLock())
    arrays = [np.zeros(1) for _ in range(3)]
    other = guards.Guard(arrays[1:2])
    code = getattr(guards.Guard, method).__code__
    instruction = 0
    while interrupted_at(instruction, lambda each: each is code, lambda: guards.Guard(arrays)):
        assert [array.flags.writeable for array in arrays] == [True, False, True]
        instruction += 1
    assert instruction > 50
    del other
    assert all(array.flags.writeable for array in arrays)
