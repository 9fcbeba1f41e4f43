"""A recorded loss gives the same bits as its graph, or it reports why it cannot."""

import functools
import inspect
import itertools
import operator
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from lmladder import kernels
from lmladder.autograd import OPS, CapturedLoss, Tensor, functional, op, ops
from lmladder.models import NeuralLanguageModel
from lmladder.nn import Linear, Module
from lmladder.system.arrays import FloatArray
from lmladder.system.streams import stream
from lmladder.tracing import constant
from lmladder.training.loop import TrainingRun
from tests.autograd.cases import OP_NAMES, cases_of
from tests.autograd.test_graphs import RATE, Program, programs, thoroughly
from tests.models.examples import SETTINGS, TRANSFORMER, build, changed

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def leaf(*shape: int) -> Tensor:
    values = np.random.default_rng(0).standard_normal(shape)
    return Tensor(np.asarray(values, np.float32), requires_grad=True)


def capture(model: NeuralLanguageModel) -> CapturedLoss:
    return CapturedLoss(model.loss, model.parameters().values())


def gradients_after(captured: CapturedLoss, step: Callable[..., float], inputs: Any) -> Any:
    """Return the loss of a step, and the bytes of each parameter's gradient."""
    for parameter in captured.parameters:
        parameter.grad = None
    loss = step(*inputs)
    gradients = [parameter.grad for parameter in captured.parameters]
    return loss, [None if each is None else (each.dtype, each.tobytes()) for each in gradients]


def check(
    captured: CapturedLoss, change: Callable[[int], Sequence[Any]], *, times: int = 4
) -> CapturedLoss:
    """Each call gives the loss and gradients of a graph; `change` gives the inputs of a call."""
    for call in range(times):
        inputs, copies = change(call), change(call)
        loss, gradients = gradients_after(captured, captured.by_graph, copies)
        found, recorded = gradients_after(captured, captured, inputs)
        assert np.array_equal(found, loss, equal_nan=True)
        assert recorded == gradients
    return captured


def scaled(parameters: Sequence[Tensor]) -> Callable[[int], tuple[()]]:
    """Return what changes the parameters a little before each call; the loss has no inputs."""
    first = [parameter.value.copy() for parameter in parameters]

    def change(call: int) -> tuple[()]:
        for parameter, value in zip(parameters, first, strict=True):
            parameter.value[...] = value * (1 + call / 64)
        return ()

    return change


@pytest.mark.parametrize("name", OP_NAMES)
def test_a_recorded_op_gives_the_bits_of_its_graph(name: str) -> None:
    for case in cases_of(name):
        dtype = np.float64 if name == "astype" else np.float32
        leaves, rng = case.leaves(dtype)
        shape = case(*leaves).shape
        upstream = Tensor(np.asarray(rng.standard_normal(shape), dtype), requires_grad=True)
        parameters = [*leaves, upstream]
        loss = CapturedLoss(lambda c=case, p=parameters: ops.sum(c(*p[:-1]) * p[-1]), parameters)
        check(loss, scaled(parameters), times=3)
        draws = name == "dropout" and leaves[0].value.size  # from a generator that the case makes
        assert (loss.untraceable_reason is None) == (not draws), case.name


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
    """Dropout whose pullback is not a kernel and depends on what was drawn."""
    value, _ = inspect.unwrap(functional.dropout)(x, rate=rate, rng=rng)

    def drop_pullback(grad: FloatArray) -> Any:
        return (grad * (value != 0) / (1 - rate),)

    return value, drop_pullback


OPS.pop("drop")


def declared(option: Any) -> Any:
    """Return an option whose arrays are declared as constants."""
    if isinstance(option, tuple):
        return tuple(map(declared, option))
    return constant(option) if isinstance(option, np.ndarray) else option


@given(programs(), st.lists(st.sampled_from([*SOURCES]), min_size=4, max_size=4), st.booleans())
@settings(thoroughly)
def test_a_recorded_program_gives_the_bits_of_its_graph(
    program: Program, sources: list[str], single: bool
) -> None:
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
        def result(number: int) -> Tensor:
            if number < len(given):
                used.add(sources[number])
                arrays = leaves[number], given[number], fixed[number], changing[number]
                return SOURCES[sources[number]](*arrays)
            step = program.steps[number - len(given)]
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
    assert (captured.untraceable_reason is None) == followed


# ------------------------------------------------------------------------------- whole models


def transformer(**changes: Any) -> NeuralLanguageModel:
    return build(changed(TRANSFORMER, **{"dropout": 0.0, **changes}), 7)


def batches(call: int) -> Sequence[Any]:
    return stream(0, "rows", call).integers(0, 7, (3, 7)), stream(0, "dropout", call)


@pytest.mark.parametrize(("choice", "threads"), [("numba", 2), ("numpy", 1)])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_recorded_model_gives_the_bits_of_its_graph(name: str, choice: str, threads: int) -> None:
    kernels.set_threads(threads)
    kernels.select(choice)
    assert check(capture(build(SETTINGS[name], 7)), batches).untraceable_reason is None


@pytest.mark.parametrize("n_batches", [1, 3])
def test_parts_and_batches_of_a_step_add_up_to_the_whole(n_batches: int) -> None:
    model = transformer(context_length=64)
    model.astype(np.float64)
    tokens = stream(0, "rows").integers(0, 7, (n_batches, 24, 65))
    loss = model.loss(np.concatenate(tokens))
    loss.backward()
    parameters = model.parameters().values()
    whole = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    captured = CapturedLoss(model.loss, parameters, share=1 / n_batches)
    assert sum(map(captured, tokens)) == pytest.approx(loss.item(), rel=1e-12)
    for parameter, gradient in zip(parameters, whole, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("splits", [True, False])
def test_a_loss_that_mixes_sequences_is_right_only_if_its_batches_are_whole(splits: bool) -> None:
    class Mixing(Linear):
        splits_batches = splits

        def loss(self, rows: FloatArray, rng: object = None) -> Tensor:
            return (self(constant(rows)).mean(axis=0) ** 2).sum()

    rows = stream(0, "rows").standard_normal((8, 200)).astype(np.float32)
    model: Any = Mixing(200, 1, rng=stream(0, "weights"))
    config: Any = SimpleNamespace(training=SimpleNamespace(gradient_accumulation_steps=1))
    unused: Any = None
    run = TrainingRun(model, unused, config, rows, rows, unused)
    right = run.loss(rows) == pytest.approx(model.loss(rows).item())
    assert right == (not splits)


def test_a_batch_of_several_parts_gives_the_bits_of_its_graph_for_any_number_of_threads() -> None:
    tokens = stream(0, "rows").integers(0, 7, (4, 24, 65))

    def results(threads: int) -> Any:
        kernels.set_threads(threads)
        captured = capture(transformer(d_model=128, context_length=64, dropout=0.1))
        check(captured, lambda call: (tokens[call], stream(0, "dropout", call)))
        assert captured.untraceable_reason is None
        return gradients_after(captured, captured, (tokens[0], stream(0, "dropout")))

    assert results(1) == results(3)


def test_a_recorded_step_allocates_next_to_nothing() -> None:
    kernels.set_threads(1)  # each thread has buffers, which it allocates at its first call
    captured = capture(transformer(d_model=64, context_length=32))
    tokens = stream(0, "rows").integers(0, 7, (8, 33))

    def peak() -> int:
        for parameter in captured.parameters:
            parameter.grad = None
        tracemalloc.start()
        captured(tokens)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    recording = peak()
    peak(), peak()  # compiled kernels look at the types of what is new to them
    assert peak() < recording / 10


# ------------------------------------------------------------------------------- falling back


def test_inputs_of_another_shape_or_type_run_as_a_graph() -> None:
    captured = check(capture(transformer()), batches)
    for tokens in (np.array([[1, 2, 3]]), np.array([[1, 2, 3, 4, 5, 6, 0]] * 3, np.uint8)):
        check(captured, lambda call, tokens=tokens: (tokens, stream(0, "dropout", call)))
    assert check(captured, batches).untraceable_reason is None


def test_without_a_generator_nothing_is_dropped_though_a_step_with_one_was_recorded() -> None:
    captured = check(capture(transformer(dropout=0.5)), batches)
    check(captured, lambda call: (batches(call)[0], None))


def test_new_arrays_in_the_parameters_are_used() -> None:
    model = transformer()
    captured = check(capture(model), batches)
    model.load({name: each.value * 2 for name, each in model.parameters().items()})
    check(captured, batches)
    model.astype(np.float64)
    assert check(captured, batches).untraceable_reason is None


def test_gradients_are_added_to_those_that_exist_and_an_unused_parameter_gets_none() -> None:
    x, unused = leaf(3), leaf(3)
    captured = CapturedLoss(lambda: ops.sum(x * x), [x, unused])
    total = np.zeros(3, np.float32)
    for factor in (1, 3, 2, 4):
        x.value[...] = factor
        total += 2 * x.value
        captured()
        assert x.grad is not None
        assert x.grad.tolist() == total.tolist()
    assert captured.untraceable_reason is unused.grad is None


@pytest.mark.parametrize(
    "hidden",
    [
        lambda x, call, rng: x * call,
        lambda x, call, rng: x * rng.random(),
        lambda x, call, rng: x if call % 2 else ops.tanh(x),
        lambda x, call, rng: x * constant(np.full(3, call, np.float32)),
    ],
    ids=["number", "draw", "branch", "constant"],
)
def test_two_calls_that_differ_by_more_than_the_inputs_are_not_repeated(
    hidden: Callable[..., Tensor],
) -> None:
    x = leaf(3)

    def losses(*, by_graph: bool) -> tuple[list[float], str]:
        calls, rng = itertools.count(1), np.random.default_rng(0)
        captured = CapturedLoss(lambda: ops.sum(hidden(x, next(calls), rng)), [x])
        step = captured.by_graph if by_graph else captured
        return [step() for _ in range(5)], str(captured.untraceable_reason)

    found, reason = losses(by_graph=False)
    assert found == losses(by_graph=True)[0]
    assert "depends on more than the inputs and the parameters" in reason


# ------------------------------------------------------------------------------- Python values

FACTOR = 1.0


class Settings:
    factor = 1.0  # of the class


class Scaled(Module):
    """A loss x * factor, with a factor in many places, of which one changes."""

    def __init__(self) -> None:
        self.x = leaf(3)
        self.sharp, self.inner, self.seen = False, Settings(), 0
        self.factors = {"first": (1.0, [1.0])}
        self.closed = self.closure(1.0)

    def closure(self, factor: float) -> tuple[Callable[[], float], Callable[[float], None]]:
        def change(new: float) -> None:
            nonlocal factor
            factor = new

        return functools.partial(lambda: factor), change

    def loss(self) -> Tensor:
        factor = self.factors["first"][1][0] * self.inner.factor * FACTOR
        x = ops.tanh(self.x) if self.sharp else self.x
        return ops.sum(x * (factor * self.closed[0]()))


def change_global(model: Scaled, value: float) -> None:
    global FACTOR
    FACTOR = value


CHANGES: dict[str, Callable[[Scaled, float], None]] = {
    "'sharp' of Scaled": lambda model, value: setattr(model, "sharp", value != 1),
    "0 of list": lambda model, value: operator.setitem(model.factors["first"][1], 0, value),
    "'factor' of Settings": lambda _, value: setattr(Settings, "factor", value),
    "the variable 'factor'": lambda model, value: model.closed[1](value),
    "the variable 'FACTOR'": change_global,
}


@pytest.mark.parametrize("place", CHANGES)
def test_a_python_value_may_change_at_any_time(place: str) -> None:
    model = Scaled()
    captured = CapturedLoss(model.loss, [model.x])

    def check_with(*values: float) -> None:
        def change(call: int) -> tuple[()]:
            CHANGES[place](model, values[call])
            return ()

        check(captured, change, times=len(values))

    check_with(1, 1, 1, 1, 5, 5, 5, 5, 1)  # it is repeated before and after a change
    assert captured.untraceable_reason is None
    assert captured.programs
    check_with(5, 1, 5, 1)
    found = f"{place.partition(',')[0]} changes from call to call"
    assert captured.untraceable_reason == found
    check_with(1, 1, 1, 1)
    assert captured.untraceable_reason is None


def test_a_loss_that_changes_what_it_reads_is_never_repeated() -> None:
    model = Scaled()

    def loss() -> Tensor:
        model.seen += 1
        return model.loss() * (1.0 if model.seen < 20 else 2.0)

    captured = CapturedLoss(loss, [model.x])
    found = [captured() for _ in range(30)]
    assert len(set(found[:19])) == len(set(found[19:])) == 1
    assert found[-1] == 2 * found[0]
    assert captured.untraceable_reason == "'seen' of Scaled changes from call to call"


def test_an_id_out_of_range_is_reported_in_a_recorded_step_too() -> None:
    captured = check(capture(transformer()), batches)
    for wrong in (-1, 7):
        tokens = np.array(batches(0)[0])
        tokens[1, 3] = wrong
        with pytest.raises(IndexError, match=r"range from .* not in \[0, 7\)"):
            captured(tokens, stream(0, "dropout"))
    check(captured, batches)
