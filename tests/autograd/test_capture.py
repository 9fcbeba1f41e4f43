"""A recorded loss gives, to the last bit, what its graph would have given; or it says why not."""

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from lmladder import kernels
from lmladder.arrays import Array, FloatArray
from lmladder.autograd import Tensor, functional, ops
from lmladder.autograd.capture import Captured
from lmladder.autograd.cases import CASES, Case
from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.models import build_neural
from lmladder.models.neural import NeuralLanguageModel
from lmladder.nn import ACTIVATIONS
from lmladder.rng import stream
from tests.autograd.test_graphs import Program, any_program, thoroughly

import numpy as np
import pytest

# Ops that some rows call with an array that is neither a Tensor nor an input.
WITH_ARRAYS = {
    "add",
    "where",
    "take_along_axis",
    "scatter_add",
    "embedding",
    "cross_entropy",
    "getitem",
    "rotary",
}


def leaf(*shape: int, seed: int = 0) -> Tensor:
    numbers = np.random.default_rng(seed).standard_normal(shape)
    return Tensor(np.asarray(numbers, np.float32), requires_grad=True)


def same_bits(found: FloatArray | None, wanted: FloatArray | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes()


def check(
    captured: Captured, change: Callable[[int], Sequence[Any]], *, times: int = 3
) -> Captured:
    """Each call gives the loss and gradients of a graph; `change` gives the inputs of a call."""
    for call in range(times):
        inputs, copies = change(call), change(call)
        for parameter in captured.parameters:
            parameter.grad = None
        loss = captured.by_graph(*copies)
        wanted = [parameter.grad for parameter in captured.parameters]
        for parameter in captured.parameters:
            parameter.grad = None
        assert np.array_equal(captured(*inputs), loss, equal_nan=True)
        for parameter, gradient in zip(captured.parameters, wanted, strict=True):
            assert same_bits(parameter.grad, gradient)
    return captured


def scaled(parameters: Sequence[Tensor]) -> Callable[[int], tuple[()]]:
    """What changes the parameters' numbers a little before each call; the loss has no inputs."""
    first = [parameter.value.copy() for parameter in parameters]

    def change(call: int) -> tuple[()]:
        for parameter, value in zip(parameters, first, strict=True):
            parameter.value[...] = value * (1 + call / 64)
        return ()

    return change


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_row_of_every_op(case: Case, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    leaves = [Tensor(draw(rng).astype(dtype), requires_grad=True) for draw in case.draws]
    shape = case(*leaves).shape
    upstream = Tensor(np.asarray(rng.standard_normal(shape), dtype), requires_grad=True)
    parameters = [*leaves, upstream]
    if case.op == "astype":
        upstream.value = upstream.value.astype(case(*leaves).dtype)

    def loss() -> Tensor:
        return ops.sum(case(*leaves) * upstream)

    with np.errstate(all="ignore"):
        captured = check(Captured(loss, parameters), scaled(parameters))
    if captured.refusal:
        reason = "generator" if case.op == "dropout" else "made elsewhere"
        assert reason in captured.refusal
        assert case.op in WITH_ARRAYS | {"dropout"}


@any_program
@thoroughly
def test_programs_of_many_ops(program: Program) -> None:
    leaves = program.tensors()
    upstream = Tensor(program.upstream(program.run(leaves)), requires_grad=True)

    def loss() -> Tensor:
        for step in program.steps:
            for option in step.options.values():
                for each in option if isinstance(option, tuple) else (option,):
                    if isinstance(each, np.ndarray):
                        kernels.constant(each)
        return ops.sum(program.run(leaves) * upstream)

    parameters = [*leaves, upstream]
    with np.errstate(all="ignore"):
        captured = check(Captured(loss, parameters), scaled(parameters))
    draws = any(step.op == "dropout" for step in program.steps)
    assert draws or captured.refusal is None


def transformer(**settings: Any) -> NeuralLanguageModel:
    sizes = {"n_layer": 2, "n_head": 2, "d_model": 8, "context_length": 6, "dropout": 0.0}
    architecture = TransformerArchitecture(**{**sizes, "activation": "gelu_tanh", **settings})
    return build_neural(architecture, 7, rng=stream(0, "weights"))


def mlp(activation: str, **settings: Any) -> NeuralLanguageModel:
    architecture = MlpArchitecture(
        context_length=3, embedding_size=4, hidden_sizes=(8, 6), activation=activation, **settings
    )
    return build_neural(architecture, 7, rng=stream(0, "weights"))


def batches(call: int) -> Sequence[Any]:
    return stream(0, "rows", call).integers(0, 7, (3, 7)), stream(0, "dropout", call)


MODELS = {
    **{
        f"transformer {name}": lambda name=name: transformer(activation=name)
        for name in ACTIVATIONS
    },
    **{f"mlp {name}": lambda name=name: mlp(name) for name in ACTIVATIONS},
    "transformer dropout": lambda: transformer(dropout=0.3),
    "transformer modern": lambda: transformer(
        norm="rmsnorm", gated=True, activation="silu", positions="rotary", qk_norm=True, tied=False
    ),
    "transformer bare": lambda: transformer(
        norm="none", bias=False, activation="relu_squared", positions="none"
    ),
    "transformer sinusoidal": lambda: transformer(
        positions="sinusoidal", embedding_norm=True, norm_weights=False
    ),
    "rnn": lambda: mlp("tanh", network="rnn"),
    "gru": lambda: mlp("tanh", network="gru"),
}


@pytest.mark.parametrize("choice", kernels.CHOICES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_whole_models(name: str, threads: int, choice: str) -> None:
    threads_before, choice_before = kernels.threads(), kernels.selected()
    kernels.set_threads(threads)
    kernels.select(choice)
    try:
        model = MODELS[name]()
        captured = check(Captured(model.loss, model.parameters().values()), batches)
        assert captured.refusal is None
    finally:
        kernels.set_threads(threads_before)
        kernels.select(choice_before)


@pytest.mark.parametrize("rows", [1, 6, 7, 16, 24])
def test_batches_of_one_part_or_several(rows: int) -> None:
    model = transformer(d_model=128, context_length=64, dropout=0.1)
    captured = Captured(model.loss, model.parameters().values())
    numbers = stream(0, "rows").integers(0, 7, (3, rows, 65))
    check(captured, lambda call: (numbers[call], stream(0, "dropout", call)))
    assert captured.refusal is None


def test_parts_add_up_to_the_whole() -> None:
    model = transformer(d_model=32, context_length=64)
    model.astype(np.float64)
    rows = stream(0, "rows").integers(0, 7, (24, 65))
    loss = model.loss(rows)
    loss.backward()
    parameters = model.parameters().values()
    whole = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    captured = Captured(model.loss, parameters)
    assert captured(rows) == pytest.approx(loss.item(), rel=1e-12)
    for parameter, gradient in zip(parameters, whole, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("by_graph", [False, True])
def test_the_bits_do_not_depend_on_the_threads(by_graph: bool) -> None:
    rows = stream(0, "rows").integers(0, 7, (3, 24, 65))

    def results(threads: int) -> list[bytes]:
        kernels.set_threads(threads)
        model = transformer(d_model=128, context_length=64)
        parameters = model.parameters().values()
        captured = Captured(model.loss, parameters)
        found = []
        for each in rows:
            found.append(np.float64((captured.by_graph if by_graph else captured)(each)).tobytes())
        return found + [parameter.grad.tobytes() for parameter in parameters]

    before = kernels.threads()
    try:
        assert results(1) == results(2) == results(5)
    finally:
        kernels.set_threads(before)


def test_a_recorded_step_allocates_next_to_nothing() -> None:
    model = transformer(d_model=64, context_length=32)
    captured = Captured(model.loss, model.parameters().values())
    rows = stream(0, "rows").integers(0, 7, (8, 33))

    def peak() -> int:
        for parameter in captured.parameters:
            parameter.grad = None
        tracemalloc.start()
        captured(rows)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    recording = peak()
    peak()  # compiled kernels look at the types of what is new to them
    repeating = peak()
    scores = 4 * 2 * 32 * 32 * 3  # of one example's heads, in attention's backward, for two threads
    assert repeating < recording / 10
    assert repeating < 2 * scores


# ------------------------------------------------------------------------------- falling back


def test_inputs_of_another_shape_or_type_are_done_as_ever() -> None:
    model = transformer()
    captured = Captured(model.loss, model.parameters().values())
    check(captured, batches)
    for rows in (np.array([[1, 2, 3]]), np.array([[1, 2, 3, 4, 5, 6, 0]] * 3, np.uint8)):
        check(captured, lambda call, rows=rows: (rows, stream(0, "dropout", call)))
    check(captured, batches)
    assert captured.refusal is None


def test_without_a_generator_nothing_is_dropped_though_a_step_with_one_was_recorded() -> None:
    model = transformer(dropout=0.5)
    captured = Captured(model.loss, model.parameters().values())
    check(captured, batches)
    check(captured, lambda call: (batches(call)[0], None))


def test_new_arrays_in_the_parameters_are_seen() -> None:
    model = transformer()
    parameters = model.parameters()
    captured = check(Captured(model.loss, parameters.values()), batches)
    model.load({name: each.value * 2 for name, each in parameters.items()})
    check(captured, batches)
    model.astype(np.float64)
    check(captured, batches)
    assert captured.refusal is None


def test_gradients_are_added_to_those_that_are_there() -> None:
    x = leaf(3)
    captured = Captured(lambda: ops.sum(x * x), [x])
    total = np.zeros(3, np.float32)
    for factor in (1, 3, 2, 4):
        x.value[...] = factor
        total += 2 * x.value
        captured()
        assert x.grad is not None
        assert x.grad.tolist() == total.tolist()


@pytest.mark.parametrize("rows", [3, 24])
def test_batches_that_share_a_step_add_up_to_it(rows: int) -> None:
    model = transformer(context_length=64)
    model.astype(np.float64)
    parameters = model.parameters().values()
    batches = stream(0, "rows").integers(0, 7, (3, rows, 65))
    loss = model.loss(np.concatenate(batches))
    loss.backward()
    whole = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    captured = Captured(model.loss, parameters, share=1 / 3)
    assert sum(map(captured, batches)) == pytest.approx(loss.item(), rel=1e-12)
    for parameter, gradient in zip(parameters, whole, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def test_a_parameter_that_the_loss_does_not_reach_gets_no_gradient() -> None:
    x, unused = leaf(3), leaf(3)
    captured = check(Captured(lambda: ops.sum(x), [x, unused]), scaled([x, unused]))
    assert captured.refusal is None
    assert unused.grad is None


def outside(rows: Array) -> Array:
    return rows * 2 % 7


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (lambda x, rows: functional.embedding(x, outside(rows)), "made elsewhere"),
        (
            lambda x, rows: x * outside(rows)[0, 0].astype(np.float32) * rows.sum(axis=1),
            "elsewhere",
        ),
        (lambda x, rows: Tensor(np.ones((7, 4))) + x.astype(np.float64), "elsewhere"),
        (
            lambda x, rows: functional.dropout(x, rate=0.5, rng=np.random.default_rng(len(rows))),
            "generator that is no input",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name_and_done_as_ever(
    loss: Callable[[Tensor, Array], Tensor], reason: str
) -> None:
    x = leaf(7, 4)
    captured = Captured(lambda rows: ops.sum(loss(x, rows)), [x])
    check(captured, lambda call: (np.arange(4).reshape(1, 4) + call % 3,))
    assert captured.refusal is not None
    assert reason in captured.refusal


def test_an_array_that_is_said_to_stay_may_be_used() -> None:
    x, mask = leaf(3), np.array([1.0, 0.0, 1.0], np.float32)
    captured = Captured(lambda: ops.sum(x * kernels.constant(mask)), [x])
    assert check(captured, scaled([x])).refusal is None


def test_an_id_past_the_table_is_found_in_a_recorded_step_too() -> None:
    model = transformer()
    captured = check(Captured(model.loss, model.parameters().values()), batches)
    for wrong in (-1, 7):
        rows = np.array(batches(0)[0])
        rows[1, 3] = wrong
        with pytest.raises(IndexError, match=r"range from .* not in \[0, 7\)"):
            captured(rows, stream(0, "dropout"))
    check(captured, batches)


def test_an_op_must_still_return_a_value_and_a_pullback() -> None:
    from lmladder.autograd.tensor import OPS, op

    @op
    def half_an_op(a: FloatArray) -> Any:
        return a

    OPS.pop("half_an_op")
    x = leaf(2)
    with pytest.raises(TypeError, match="half_an_op must return its value and its pullback"):
        Captured(lambda: ops.sum(half_an_op(x)), [x])()
