"""Optimizers against the formulas of the papers, written once more; schedules and clipping."""

import math
from collections.abc import Callable
from typing import Any

from lmladder.autograd import Tensor
from lmladder.optim import (
    AdamSettings,
    AdamWSettings,
    AnySchedule,
    MuonSettings,
    Optimizer,
    Schedule,
    SgdSettings,
    build_optimizer,
    clip_scale,
    global_norm,
    orthogonalize,
)
from lmladder.optim.muon import POLAR_EXPRESS
from lmladder.system.arrays import FloatArray
from lmladder.system.settings import validate
from lmladder.system.streams import stream

import numpy as np
import pytest

SHAPES = {"matrix": (5, 3), "wide": (3, 6), "table": (4, 2), "bias": (3,), "gain": (1,)}
MATRICES = ["matrix", "wide"]
AVERAGES: Any = {"learning_rate": 0.05, "betas": [0.8, 0.95], "epsilon": 1e-3}
SGD = SgdSettings(name="sgd", learning_rate=0.05, momentum=0.8, nesterov=True, weight_decay=0.3)
ADAM = AdamSettings(name="adam", **AVERAGES)
ADAMW = AdamWSettings(name="adamw", **AVERAGES, weight_decay=0.3)
MUON = MuonSettings(
    name="muon", **AVERAGES, weight_decay=0.2, matrix_learning_rate=0.03, momentum=0.9
)
SETTINGS: dict[str, Any] = {"sgd": SGD, "adam": ADAM, "adamw": ADAMW, "muon": MUON}
every_optimizer = pytest.mark.parametrize("name", SETTINGS)


def make_parameters(dtype: type = np.float64) -> dict[str, Tensor]:
    return {
        name: Tensor(stream(1, name).standard_normal(shape).astype(dtype), requires_grad=True)
        for name, shape in SHAPES.items()
    }


def gradients(step: int) -> dict[str, FloatArray]:
    return {name: stream(2, name, step).standard_normal(shape) for name, shape in SHAPES.items()}


def make(name: str, parameters: dict[str, Tensor]) -> Optimizer:
    return build_optimizer(SETTINGS[name], parameters, MATRICES)


def run(
    optimizer: Optimizer,
    parameters: dict[str, Tensor],
    steps: range,
    layout: Callable[[FloatArray], FloatArray] = np.copy,
    **scales: float,
) -> None:
    for step in steps:
        for name, tensor in parameters.items():
            tensor.grad = layout(gradients(step)[name].astype(tensor.dtype))
        optimizer.step(step, **scales)


def values(parameters: dict[str, Tensor]) -> dict[str, FloatArray]:
    return {name: each.value.copy() for name, each in parameters.items()}


def copies(state: dict[str, FloatArray]) -> dict[str, FloatArray]:
    return {name: array.copy() for name, array in state.items()}


def assert_equal(found: dict[str, FloatArray], expected: dict[str, FloatArray]) -> None:
    assert found.keys() == expected.keys()
    for name, right in expected.items():
        np.testing.assert_array_equal(found[name], right, err_msg=name)


# --- Formulas -------------------------------------------------------------------------------------


def slow_sgd(theta: FloatArray, grads: list[FloatArray], s: Any, decay: float) -> FloatArray:
    """Each step sums all gradients so far, each shrunk once for each step since it was computed."""
    for t in range(len(grads)):
        ages = range(t, -1, -1)
        terms = [s.momentum**age * g for age, g in zip(ages, grads, strict=False)]
        velocity = sum(terms, 0 * theta)
        step = grads[t] + s.momentum * velocity if s.nesterov else velocity
        theta = theta - s.learning_rate * (step + decay * theta)
    return theta


def slow_adam(theta: FloatArray, grads: list[FloatArray], s: Any, decay: float) -> FloatArray:
    """Kingma & Ba 2015, algorithm 1; with Loshchilov & Hutter 2019, algorithm 2, line 12.

    There the decay is not multiplied by the learning rate, as has become customary.
    """
    m = v = np.zeros_like(theta)
    for t, g in enumerate(grads, 1):
        m = s.betas[0] * m + (1 - s.betas[0]) * g
        v = s.betas[1] * v + (1 - s.betas[1]) * g**2
        m_hat = m / (1 - s.betas[0] ** t)
        v_hat = v / (1 - s.betas[1] ** t)
        theta = theta - s.learning_rate * (m_hat / (np.sqrt(v_hat) + s.epsilon) + decay * theta)
    return theta


def slow_muon(theta: FloatArray, grads: list[FloatArray], s: Any, decay: float) -> FloatArray:
    """Jordan et al. 2024 with Nesterov momentum, decoupled decay, sqrt(max(1, out / in)).

    As in Li et al. 2025, each output's step is divided by its running root mean square, and the
    norm of the whole step is kept; singular values are moved to 1 as in Amsel et al. 2025.
    """
    n_in, n_out = theta.shape
    buffer, squares = np.zeros_like(theta), np.zeros(n_out)
    for grad in grads:
        buffer = s.momentum * buffer + grad
        x = grad + s.momentum * buffer
        x = x / (np.linalg.norm(x) + 1e-7)
        for a, b, c in POLAR_EXPRESS:
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        squares = s.betas[1] * squares + (1 - s.betas[1]) * (x**2).mean(axis=0)
        even = x / np.sqrt(squares)
        x = even * np.linalg.norm(x) / np.linalg.norm(even)
        theta = theta * (1 - s.matrix_learning_rate * decay)
        theta = theta - s.matrix_learning_rate * math.sqrt(max(1, n_out / n_in)) * x
    return theta


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(
    "settings",
    [
        *(
            SGD.model_copy(update={"momentum": m, "nesterov": n})
            for m in (0.0, 0.8)
            for n in (False, True)
        ),
        ADAM,
        ADAMW,
        MUON,
    ],
    ids=str,
)
def test_a_step_is_the_formula_of_the_paper(settings: Any, steps: int) -> None:
    """Weight decay applies to matrices only; the schedule scales every learning rate."""
    parameters = make_parameters()
    start = values(parameters)
    run(build_optimizer(settings, parameters, MATRICES), parameters, range(steps), factor=0.5)
    settings = settings.model_copy(update={"learning_rate": settings.learning_rate / 2})
    if settings.name == "muon":
        settings = settings.model_copy(
            update={"matrix_learning_rate": settings.matrix_learning_rate / 2}
        )
    for name, shape in SHAPES.items():
        slow = slow_sgd if settings.name == "sgd" else slow_adam
        slow = slow_muon if settings.name == "muon" and name in MATRICES else slow
        decay = getattr(settings, "weight_decay", 0.0) if len(shape) >= 2 else 0.0
        expected = slow(start[name], [gradients(t)[name] for t in range(steps)], settings, decay)
        rtol = 1e-9 if slow is slow_muon else 1e-12
        np.testing.assert_allclose(parameters[name].value, expected, rtol=rtol, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16), (1, 9), (9, 1), (1, 1)], ids=str)
def test_orthogonalize_moves_singular_values_near_1_and_keeps_the_vectors(
    shape: tuple[int, int], dtype: type
) -> None:
    rank = min(shape)
    left, _ = np.linalg.qr(stream(0, "left").standard_normal((shape[0], rank)))
    right, _ = np.linalg.qr(stream(0, "right").standard_normal((shape[1], rank)))
    for scale in (1e-4, 1.0, 1e6):
        matrix = ((left * np.geomspace(0.1, 1, rank)) @ right.T * scale).astype(dtype)
        matrix.flags.writeable = False
        found = orthogonalize(matrix)
        assert (found.shape, found.dtype) == (shape, dtype)
        in_basis = left.T @ found @ right  # diagonal, if the singular vectors stayed
        singular = np.diag(in_basis)
        assert 0.9 <= singular.min() <= singular.max() <= 1.1
        np.testing.assert_allclose(in_basis, np.diag(singular), atol=1e-4)
    assert not orthogonalize(np.zeros(shape, dtype)).any()


# --- What all optimizers promise ------------------------------------------------------------------


@every_optimizer
def test_gradient_scale_scales_the_gradients(name: str) -> None:
    scaled, plain = make_parameters(), make_parameters()
    run(make(name, scaled), scaled, range(2), gradient_scale=0.25)
    run(make(name, plain), plain, range(2), lambda gradient: gradient * 0.25)
    assert_equal(values(scaled), values(plain))


@every_optimizer
def test_step_leaves_gradients_alone_and_skips_what_has_none(name: str) -> None:
    parameters = make_parameters(np.float32)
    start = values(parameters)
    optimizer = make(name, parameters)
    arrays = {each: tensor.value for each, tensor in parameters.items()}
    for each, grad in gradients(0).items():
        parameters[each].grad = grad.astype(np.float32)
        parameters[each].grad.flags.writeable = False  # type: ignore[union-attr]
    parameters["matrix"].grad = parameters["bias"].grad = None
    optimizer.step(0)
    for each, tensor in parameters.items():
        assert (tensor.value != start[each]).any() == (each not in ("matrix", "bias"))
        assert tensor.dtype == np.float32
        assert tensor.value is arrays[each]  # from when the optimizer was built


@every_optimizer
def test_values_and_gradients_of_any_layout_are_updated_alike(name: str) -> None:
    layouts: list[Callable[[FloatArray], FloatArray]] = [
        np.copy,
        np.asfortranarray,
        lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    ]
    for dtype in (np.float32, np.float64):
        whole = make_parameters(dtype)
        run(make(name, whole), whole, range(4))
        for layout in layouts:
            replaced = make_parameters(dtype)
            optimizer = make(name, replaced)
            for step in range(4):
                for each in sorted(SHAPES)[step:]:
                    replaced[each].value = layout(replaced[each].value)
                run(optimizer, replaced, range(step, step + 1), layout)
            rtol = 1e-4 if dtype is np.float32 else 1e-12  # products may be rounded differently
            for each, right in values(whole).items():
                np.testing.assert_allclose(replaced[each].value, right, rtol=rtol)


UNSUITABLE = [
    *(("value", array) for array in (np.ones((3, 5), np.float32), np.ones((5, 3)))),
    *(("grad", array) for array in (np.ones((1, 3), np.float32), np.ones((5, 3)))),
]


@every_optimizer
def test_unsuitable_arrays_are_rejected_by_name_before_anything_changes(name: str) -> None:
    for what, array in UNSUITABLE:
        parameters = make_parameters(np.float32)
        optimizer = make(name, parameters)
        run(optimizer, parameters, range(2))
        setattr(parameters["matrix"], what, array)
        before = values(parameters), copies(optimizer.state())
        message = rf"must be float32 \(5, 3\), got {array.dtype}"
        with pytest.raises(ValueError, match=rf"of matrix {message}"):
            optimizer.step(2)
        for found, right in zip((values(parameters), optimizer.state()), before, strict=True):
            assert_equal(found, right)


@every_optimizer
def test_step_changes_a_parameter_that_a_graph_holds_and_the_graph_reports_it(name: str) -> None:
    parameters = make_parameters()
    optimizer = make(name, parameters)
    held: Any = sum((each * each).sum() for each in parameters.values())
    before = values(parameters)
    run(optimizer, parameters, range(1))
    assert all((parameters[each].value != array).all() for each, array in before.items())
    grads = {each: tensor.grad for each, tensor in parameters.items()}
    with pytest.raises(RuntimeError, match="has changed; compute the result again"):
        held.backward()
    assert all(tensor.grad is grads[each] for each, tensor in parameters.items())


@every_optimizer
def test_all_zero_gradients_give_no_nan_and_a_parameter_may_be_a_single_number(name: str) -> None:
    parameters = make_parameters(np.float32)
    number = Tensor(np.full((), 2, np.float32), requires_grad=True)
    optimizer = make(name, parameters | {"number": number})
    for tensor in parameters.values():
        tensor.grad = np.zeros_like(tensor.value)
    number.grad = np.full((), 0.3, np.float32)
    optimizer.step(0)
    assert all(np.isfinite(tensor.value).all() for tensor in parameters.values())
    assert 0 < number.item() < 2


# --- Schedules and clipping -----------------------------------------------------------------------


def schedule(
    name: str, warmup_steps: int, final_fraction: float = 0.0, decay_fraction: float = 0.2
) -> Schedule:
    given = {"name": name, "warmup_steps": warmup_steps, "final_fraction": final_fraction}
    if name == "wsd":
        given["decay_fraction"] = decay_fraction
    found: Schedule = validate(AnySchedule, given)
    return found


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd"])
def test_factor_rises_to_1_and_falls_to_its_final_fraction(name: str) -> None:
    for warmup_steps in (0, 1, 10):
        for final_fraction in (0.0, 0.1, 1.0):
            settings = schedule(name, warmup_steps, final_fraction)
            course = [settings.factor(step, 50) for step in range(51)]  # the last: after the run
            rise, fall = course[:warmup_steps], course[warmup_steps:]
            np.testing.assert_allclose(rise, np.arange(1, len(rise) + 1) / max(warmup_steps, 1))
            assert fall[0] == max(course) == 1
            assert np.all(np.diff(fall) <= 0)
            end = 1 if name == "constant" else final_fraction
            assert fall[-1] == pytest.approx(end, abs=1e-12)


def test_schedules_have_the_shapes_of_their_names() -> None:
    assert schedule("linear", 0, 0.2).decayed(0.25) == pytest.approx(0.8)
    assert schedule("cosine", 0, 0.2).decayed(0.5) == pytest.approx(0.6)
    assert schedule("cosine", 0).decayed(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)


@pytest.mark.parametrize(
    ("steps", "warmup_steps", "decay_fraction", "expected"),
    [
        (10, 2, 0.3, [0.5, 1, 1, 1, 1, 1, 1, 1, 0.7, 0.4]),
        (5, 2, 0.6, [0.5, 1, 1, 0.7, 0.4]),  # nothing stable between rise and fall
        (3, 0, 1.0, [1, 0.7, 0.4]),  # a fall only, which is linear
        (4, 1, 0.01, [1, 1, 1, 1]),  # at least one step, the first of the fall
    ],
)
def test_wsd_warms_up_is_stable_and_decays(
    steps: int, warmup_steps: int, decay_fraction: float, expected: list[float]
) -> None:
    settings = schedule("wsd", warmup_steps, 0.1, decay_fraction)
    settings.check_steps(steps)
    course = [settings.factor(step, steps) for step in range(steps + 1)]
    assert course == pytest.approx([*expected, 0.1])


def test_global_norm_is_of_all_gradients_as_one_vector() -> None:
    parameters = make_parameters()
    assert global_norm(parameters.values()) == 0
    for name, grad in gradients(0).items():
        parameters[name].grad = None if name == "bias" else grad
    others = [grad.ravel() for name, grad in gradients(0).items() if name != "bias"]
    expected = np.linalg.norm(np.concatenate(others))
    assert global_norm(parameters.values()) == pytest.approx(expected)


def test_clip_scale_reduces_only_what_is_too_large() -> None:
    cases = [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (4.0, 1.0), (5.0, 2.5), (9.0, None)]
    assert [clip_scale(norm, limit) for norm, limit in cases] == [1, 1, 1, 0.25, 0.5, 1]
