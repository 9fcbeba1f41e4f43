"""A recorded loss gives, to the last bit, what its graph would have given; or it says why not."""

import functools
import inspect
import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lmladder import kernels
from lmladder.autograd import OPS, CapturedLoss, Tensor, functional, op, ops
from lmladder.autograd.cases import CASES, Case
from lmladder.models import MlpSettings, RecurrentSettings, TransformerSettings
from lmladder.models.neural import NeuralLanguageModel
from lmladder.models.settings import GruSettings
from lmladder.nn import ACTIVATIONS
from lmladder.system.arrays import FloatArray
from lmladder.system.streams import stream
from lmladder.tracing import constant
from tests.autograd.test_graphs import RATE, Program, programs, thoroughly
from tests.models.examples import build

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def leaf(*shape: int, seed: int = 0) -> Tensor:
    numbers = np.random.default_rng(seed).standard_normal(shape)
    return Tensor(np.asarray(numbers, np.float32), requires_grad=True)


def same_bits(found: FloatArray | None, wanted: FloatArray | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes()


def check(
    captured: CapturedLoss, change: Callable[[int], Sequence[Any]], *, times: int = 4
) -> CapturedLoss:
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
        captured = check(CapturedLoss(loss, parameters), scaled(parameters))
    draws = case.op == "dropout" and leaves[0].size  # from a generator that the row makes
    assert (captured.refusal is None) == (not draws)


# ------------------------------------------------------------------------------- random programs

# Where a leaf comes from: a parameter, an input, and arrays that were made elsewhere, of which one
# changes from call to call and the other does not. Tensors made of the last three are not followed.
SOURCES: dict[str, Callable[[Tensor, FloatArray, FloatArray, FloatArray], Tensor]] = {
    "parameter": lambda parameter, given, fixed, changing: parameter,
    "input": lambda parameter, given, fixed, changing: Tensor(given),
    "computed": lambda parameter, given, fixed, changing: Tensor(given * 2 - given.mean()),
    "declared": lambda parameter, given, fixed, changing: Tensor(constant(fixed)),
    "fixed": lambda parameter, given, fixed, changing: Tensor(fixed),
    "changing": lambda parameter, given, fixed, changing: Tensor(changing),
    "converted": lambda parameter, given, fixed, changing: Tensor(given * float(given.mean())),
}


@op
def drop(x: FloatArray, *, rate: float, rng: np.random.Generator) -> Any:
    """Dropout, but for the pullback, which is no kernel and has to know what was drawn."""
    value, _ = inspect.unwrap(functional.dropout)(x, rate=rate, rng=rng)

    def drop_pullback(grad: FloatArray) -> Any:
        return (grad * (value != 0) / (1 - rate),)

    return value, drop_pullback


OPS.pop("drop")


def declared(option: Any) -> Any:
    """An option, whose arrays keep their values."""
    if isinstance(option, tuple):
        return tuple(map(declared, option))
    return constant(option) if isinstance(option, np.ndarray) else option


@given(programs(), st.lists(st.sampled_from([*SOURCES]), min_size=4, max_size=4), st.booleans())
@settings(thoroughly, max_examples=300)
def test_programs_of_many_ops(program: Program, sources: list[str], single: bool) -> None:
    first = [array.astype(np.float32 if single else np.float64) for array in program.arrays()]
    leaves = [Tensor(array.copy(), requires_grad=True) for array in first]
    fixed, changing = ([array.copy() for array in first] for _ in range(2))
    upstream = Tensor(program.upstream(program.run(leaves)), requires_grad=True)
    used = set()

    def change(call: int) -> Sequence[Any]:
        inputs = [np.asarray(array * (1 + call / 64)) for array in first]
        for leaf, array, each in zip(leaves, changing, inputs, strict=True):
            leaf.value[...] = array[...] = each
        return (*inputs, np.random.default_rng(call))

    def loss(*inputs: Any) -> Tensor:
        *given, rng = inputs

        @functools.cache
        def result(place: int) -> Tensor:
            if place < len(given):
                used.add(sources[place])
                arrays = leaves[place], given[place], fixed[place], changing[place]
                return SOURCES[sources[place]](*arrays)
            step = program.steps[place - len(given)]
            tensors = [result(each) for each in step.inputs]
            if step.op == "dropout":
                function = drop if step.options["seed"] % 2 else functional.dropout
                return function(*tensors, rate=RATE, rng=rng)
            options = {name: declared(option) for name, option in step.options.items()}
            return replace(step, options=options).on_tensors(*tensors)

        return ops.sum(result(len(given) + len(program.steps) - 1) * upstream)

    with np.errstate(all="ignore"):
        captured = check(CapturedLoss(loss, [*leaves, upstream]), change)
    followed = used.isdisjoint({"fixed", "changing", "converted"})
    assert (captured.refusal is None) == followed


def transformer(**settings: Any) -> NeuralLanguageModel:
    sizes = {"n_layer": 2, "n_head": 2, "d_model": 8, "context_length": 6, "dropout": 0.0}
    return build(TransformerSettings(**{**sizes, "activation": "gelu_tanh", **settings}), 7)


def batches(call: int) -> Sequence[Any]:
    return stream(0, "rows", call).integers(0, 7, (3, 7)), stream(0, "dropout", call)


MODELS = {
    **{
        f"transformer {name}": lambda name=name: transformer(activation=name)
        for name in ACTIVATIONS
    },
    **{
        f"mlp {name}": lambda name=name: build(MlpSettings(3, 4, [8, 6], name), 7)
        for name in ACTIVATIONS
    },
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
    "rnn": lambda: build(RecurrentSettings(3, 4, [8, 6]), 7),
    "gru": lambda: build(GruSettings(3, 4, [8, 6]), 7),
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
        captured = check(CapturedLoss(model.loss, model.parameters().values()), batches)
        assert captured.refusal is None
    finally:
        kernels.set_threads(threads_before)
        kernels.select(choice_before)


@pytest.mark.parametrize("rows", [1, 6, 7, 16, 24])
def test_batches_of_one_part_or_several(rows: int) -> None:
    model = transformer(d_model=128, context_length=64, dropout=0.1)
    captured = CapturedLoss(model.loss, model.parameters().values())
    numbers = stream(0, "rows").integers(0, 7, (4, rows, 65))
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
    captured = CapturedLoss(model.loss, parameters)
    assert captured(rows) == pytest.approx(loss.item(), rel=1e-12)
    for parameter, gradient in zip(parameters, whole, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("by_graph", [False, True])
def test_the_bits_do_not_depend_on_the_threads(by_graph: bool) -> None:
    rows = stream(0, "rows").integers(0, 7, (4, 24, 65))

    def results(threads: int) -> list[bytes]:
        kernels.set_threads(threads)
        model = transformer(d_model=128, context_length=64)
        parameters = model.parameters().values()
        captured = CapturedLoss(model.loss, parameters)
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
    captured = CapturedLoss(model.loss, model.parameters().values())
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
    peak(), peak()  # compiled kernels look at the types of what is new to them
    repeating = peak()
    scores = 4 * 2 * 32 * 32 * 3  # of one example's heads, in attention's backward, for two threads
    assert repeating < recording / 10
    assert repeating < 2 * scores


# ------------------------------------------------------------------------------- falling back


def test_inputs_of_another_shape_or_type_are_done_as_ever() -> None:
    model = transformer()
    captured = CapturedLoss(model.loss, model.parameters().values())
    check(captured, batches)
    for rows in (np.array([[1, 2, 3]]), np.array([[1, 2, 3, 4, 5, 6, 0]] * 3, np.uint8)):
        check(captured, lambda call, rows=rows: (rows, stream(0, "dropout", call)))
    check(captured, batches)
    assert captured.refusal is None


def test_without_a_generator_nothing_is_dropped_though_a_step_with_one_was_recorded() -> None:
    model = transformer(dropout=0.5)
    captured = CapturedLoss(model.loss, model.parameters().values())
    check(captured, batches)
    check(captured, lambda call: (batches(call)[0], None))


def test_new_arrays_in_the_parameters_are_seen() -> None:
    model = transformer()
    parameters = model.parameters()
    captured = check(CapturedLoss(model.loss, parameters.values()), batches)
    model.load({name: each.value * 2 for name, each in parameters.items()})
    check(captured, batches)
    model.astype(np.float64)
    check(captured, batches)
    assert captured.refusal is None


def test_a_loss_may_put_a_new_array_into_a_parameter() -> None:
    x = leaf(3)

    def loss() -> Tensor:
        x.value = x.value * 0.5
        return ops.sum(x * x)

    captured, other = CapturedLoss(loss, [x]), CapturedLoss(loss, [x])
    first = x.value
    found = [captured() for _ in range(3)]
    x.value = first
    assert found == [other.by_graph() for _ in range(3)]


def test_gradients_are_added_to_those_that_are_there() -> None:
    x = leaf(3)
    captured = CapturedLoss(lambda: ops.sum(x * x), [x])
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
    captured = CapturedLoss(model.loss, parameters, share=1 / 3)
    assert sum(map(captured, batches)) == pytest.approx(loss.item(), rel=1e-12)
    for parameter, gradient in zip(parameters, whole, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def test_a_parameter_that_the_loss_does_not_reach_gets_no_gradient() -> None:
    x, unused = leaf(3), leaf(3)
    captured = check(CapturedLoss(lambda: ops.sum(x), [x, unused]), scaled([x, unused]))
    assert captured.refusal is None
    assert unused.grad is None


OTHER = np.ones((7, 4), np.float32)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (lambda x, rows, rng: functional.embedding(x, rows * 2 % 7), None),
        (lambda x, rows, rng: x * rows.mean() + Tensor([2, 3.0, 1, 0]).astype("f4"), None),
        (lambda x, rows, rng: x * Tensor(x.value / np.abs(x.value).max()), None),
        (lambda x, rows, rng: functional.dropout(x, rate=0.5, rng=rng) * rng.integers(9), None),
        (lambda x, rows, rng: x[[0, 2, 1, 0]] + x[rows[0] % 2], None),
        (lambda x, rows, rng: x + OTHER, "add reads ndarray (7, 4), which was made elsewhere"),
        (lambda x, rows, rng: Tensor(OTHER) @ x[:4], "matmul reads ndarray (7, 4)"),
        (lambda x, rows, rng: x * OTHER[1, 2], "multiply reads ndarray ()"),
        (lambda x, rows, rng: x * int(rows[0, 1]), "__int__"),
        (lambda x, rows, rng: x * Tensor(x.value).max().item(), "item cannot be followed"),
        (lambda x, rows, rng: x[rows.max()], "makes a view whose place depends on the inputs"),
        (lambda x, rows, rng: dropout_of_its_own(x), "dropout reads ndarray (28,)"),
    ],
)
def test_what_numpy_computes_is_followed_and_all_else_refused_by_name(
    loss: Callable[..., Tensor], reason: str | None
) -> None:
    x = leaf(7, 4)
    captured = CapturedLoss(lambda rows, rng: ops.sum(loss(x, rows, rng)), [x])
    check(captured, lambda call: (np.arange(4)[None] + call % 3, np.random.default_rng(call)))
    assert captured.refusal is reason or reason in captured.refusal


def dropout_of_its_own(x: Tensor) -> Tensor:
    return functional.dropout(x, rate=0.5, rng=np.random.default_rng(3))


@pytest.mark.parametrize("hidden", ["number", "draw", "branch", "constant"])
def test_two_calls_that_differ_by_more_than_the_inputs_are_not_repeated(hidden: str) -> None:
    x, calls, rng = leaf(3), itertools.count(1), np.random.default_rng(0)

    def loss() -> Tensor:
        call = next(calls)
        match hidden:
            case "number":
                return ops.sum(x * call)
            case "draw":
                return ops.sum(x * rng.random())
            case "branch":
                return ops.sum(x if call % 2 else ops.tanh(x))
        return ops.sum(x * constant(np.full(3, call, np.float32)))

    captured, other = CapturedLoss(loss, [x]), CapturedLoss(loss, [x])
    found = [captured() for _ in range(5)]
    calls, rng = itertools.count(1), np.random.default_rng(0)
    assert found == [other.by_graph() for _ in range(5)]
    assert captured.refusal is not None
    assert captured.refusal.endswith("depends on more than the inputs and the parameters")


def test_what_takes_nothing_but_arrays_runs_as_a_graph() -> None:
    x = leaf(3)

    def loss(rng: np.random.Generator) -> Tensor:
        drawn = rng.random(3, np.float32)
        other = np.random.default_rng(0).random(dtype=np.float32, out=x.value * 1)
        return ops.sum(x * drawn * other)

    captured = check(CapturedLoss(loss, [x]), lambda call: (np.random.default_rng(call),))
    assert captured.refusal is not None
    assert captured.refusal.startswith("ValueError: ")


def test_arrays_that_outlive_the_recorded_call_are_arrays() -> None:
    x, seen = leaf(3), []

    def loss() -> Tensor:
        seen.append(ops.tanh(x))
        return ops.sum(seen[-1] * 2)

    captured = CapturedLoss(loss, [x])
    captured()
    assert captured.refusal is None
    assert ops.exp(seen[0]).value.tolist() == np.exp(np.tanh(x.value)).tolist()
    assert np.asarray(seen[0].value).tolist() == np.tanh(x.value).tolist()


def test_an_id_past_the_table_is_found_in_a_recorded_step_too() -> None:
    model = transformer()
    captured = check(CapturedLoss(model.loss, model.parameters().values()), batches)
    for wrong in (-1, 7):
        rows = np.array(batches(0)[0])
        rows[1, 3] = wrong
        with pytest.raises(IndexError, match=r"range from .* not in \[0, 7\)"):
            captured(rows, stream(0, "dropout"))
    check(captured, batches)
