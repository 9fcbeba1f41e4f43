"""Optimizers against the papers' formulas, written out once more; schedules and clipping."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from lmladder.arrays import FloatArray
from lmladder.autograd import Tensor
from lmladder.config import OPTIMIZER_SETTINGS, OptimizerConfig, ScheduleConfig
from lmladder.errors import InputError
from lmladder.optim import (
    OPTIMIZERS,
    SCHEDULES,
    Adam,
    AdamW,
    Muon,
    Optimizer,
    Sgd,
    build_optimizer,
    clip_scale,
    factor,
    global_norm,
    orthogonalise,
)
from lmladder.rng import stream

import numpy as np
import pytest

SHAPES = {"matrix": (5, 3), "wide": (3, 6), "table": (4, 2), "bias": (3,), "gain": (1,)}
ADAM: dict[str, Any] = {"learning_rate": 0.05, "betas": (0.8, 0.95), "epsilon": 1e-3}
SGD: dict[str, Any] = {
    "learning_rate": 0.05,
    "momentum": 0.8,
    "nesterov": True,
    "weight_decay": 0.3,
}
MUON: dict[str, Any] = {
    **ADAM,
    "matrices": ["matrix", "wide"],
    "matrix_learning_rate": 0.03,
    "momentum": 0.9,
    "weight_decay": 0.2,
}


def make_parameters(dtype: type = np.float64) -> dict[str, Tensor]:
    return {
        name: Tensor(stream(1, name).standard_normal(shape).astype(dtype), requires_grad=True)
        for name, shape in SHAPES.items()
    }


def gradients(step: int) -> dict[str, FloatArray]:
    return {
        name: np.asarray(stream(2, name, step).standard_normal(shape))
        for name, shape in SHAPES.items()
    }


def run(optimizer: Optimizer, parameters: dict[str, Tensor], steps: range, **scales: float) -> None:
    for step in steps:
        for name, grad in gradients(step).items():
            parameters[name].grad = grad.astype(parameters[name].dtype)
        optimizer.step(step, **scales)


def values(parameters: dict[str, Tensor]) -> dict[str, FloatArray]:
    return {name: each.value.copy() for name, each in parameters.items()}


def assert_close(found: dict[str, FloatArray], expected: dict[str, FloatArray]) -> None:
    for name, right in expected.items():
        np.testing.assert_allclose(found[name], right, rtol=1e-12, atol=1e-14, err_msg=name)


# --- SGD ------------------------------------------------------------------------------------------


def slow_sgd(
    theta: FloatArray,
    grads: list[FloatArray],
    *,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    factor: float = 1.0,
) -> FloatArray:
    """A parameter moves by all gradients so far, each shrunk once for each step since it came."""
    for t in range(len(grads)):
        ages = range(t, -1, -1)
        velocity = sum((momentum**age * g for age, g in zip(ages, grads, strict=False)), 0 * theta)
        step = grads[t] + momentum * velocity if nesterov else velocity
        theta = theta - factor * learning_rate * (step + weight_decay * theta)
    return theta


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_sums_gradients_that_fade_and_decays_matrices_only(
    steps: int, momentum: float, nesterov: bool
) -> None:
    settings = SGD | {"momentum": momentum, "nesterov": nesterov}
    parameters = make_parameters()
    start = values(parameters)
    run(Sgd(parameters, **settings), parameters, range(steps), factor=0.5)
    grads = [gradients(step) for step in range(steps)]
    expected = {}
    for name, shape in SHAPES.items():
        decay = {"weight_decay": 0.3 if len(shape) >= 2 else 0.0}
        series = [g[name] for g in grads]
        expected[name] = slow_sgd(start[name], series, **settings | decay, factor=0.5)
    assert_close(values(parameters), expected)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_sutskevers(nesterov: bool) -> None:
    """Sutskever et al. 2013, equations 1 to 4, on the bowl f(x) = sum of curvature x^2 / 2.

    Of Nesterov's momentum they follow the point before the step of momentum, we the one after it,
    which is where they take the gradient.
    """
    rate, mu = 0.1, 0.9
    curvature, x = np.array([0.5, 1.0, 4.0]), np.array([1.0, -2.0, 3.0])
    ours = Tensor(x.copy(), requires_grad=True)
    optimizer = Sgd(
        {"x": ours}, learning_rate=rate, momentum=mu, nesterov=nesterov, weight_decay=0.0
    )
    v = np.zeros(3)
    for step in range(20):
        ours.grad = curvature * ours.value
        optimizer.step(step)
        v = mu * v - rate * curvature * (x + mu * v if nesterov else x)
        x = x + v
        np.testing.assert_allclose(ours.value, x + mu * v if nesterov else x, atol=1e-12)


@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"),
    [(0.0, False, 0.0), (0.0, False, 0.3), (0.8, False, 0.0), (0.8, True, 0.0)],
)
def test_sgd_agrees_with_torch(momentum: float, nesterov: bool, decay: float) -> None:
    """Of decay only without momentum: with it, torch's goes through the velocity."""
    torch = pytest.importorskip("torch")
    settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    parameters = {n: each for n, each in make_parameters().items() if each.ndim == 2}
    theirs = {n: torch.nn.Parameter(torch.tensor(t.value)) for n, t in parameters.items()}
    ours = Sgd(parameters, learning_rate=0.05, **settings)
    other = torch.optim.SGD(theirs.values(), lr=0.05, **settings)
    for step in range(5):
        for name in parameters:
            grad = gradients(step)[name]
            parameters[name].grad, theirs[name].grad = grad, torch.tensor(grad)
        ours.step(step)
        other.step()
    for name, tensor in parameters.items():
        np.testing.assert_allclose(tensor.value, theirs[name].detach().numpy(), rtol=1e-12)


# --- Adam and AdamW -------------------------------------------------------------------------------


def slow_adam(
    theta: FloatArray,
    grads: list[FloatArray],
    *,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float = 0.0,
    factor: float = 1.0,
) -> FloatArray:
    """Kingma & Ba 2015, algorithm 1; with Loshchilov & Hutter 2019, algorithm 2, line 12.

    There t counts from 1, the schedule's factor is eta, and the decay is multiplied by the
    learning rate as well, as it has become custom.
    """
    m = v = np.zeros_like(theta)
    for t, g in enumerate(grads, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat = m / (1 - betas[0] ** t)
        v_hat = v / (1 - betas[1] ** t)
        change = m_hat / (np.sqrt(v_hat) + epsilon) + weight_decay * theta
        theta = theta - factor * learning_rate * change
    return theta


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_adam_is_the_papers(steps: int) -> None:
    parameters = make_parameters()
    start = values(parameters)
    run(Adam(parameters, **ADAM), parameters, range(steps))
    grads = [gradients(step) for step in range(steps)]
    expected = {n: slow_adam(start[n], [g[n] for g in grads], **ADAM) for n in SHAPES}
    assert_close(values(parameters), expected)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_adamw_decays_matrices_only_and_apart_from_the_gradient(steps: int) -> None:
    parameters = make_parameters()
    start = values(parameters)
    run(AdamW(parameters, **ADAM, weight_decay=0.3), parameters, range(steps))
    grads = [gradients(step) for step in range(steps)]
    expected = {
        name: slow_adam(
            start[name],
            [g[name] for g in grads],
            **ADAM,
            weight_decay=0.3 if len(SHAPES[name]) >= 2 else 0.0,
        )
        for name in SHAPES
    }
    assert_close(values(parameters), expected)


def test_adamw_shrinks_a_matrix_whose_gradient_is_zero() -> None:
    parameters = make_parameters()
    start = values(parameters)
    for tensor in parameters.values():
        tensor.grad = np.zeros_like(tensor.value)
    AdamW(parameters, **ADAM, weight_decay=0.3).step(0, factor=0.5)
    shrunk = 1 - ADAM["learning_rate"] * 0.5 * 0.3
    expected = {n: start[n] * (shrunk if len(SHAPES[n]) >= 2 else 1) for n in SHAPES}
    assert_close(values(parameters), expected)


def test_first_step_of_adam_is_the_learning_rate_against_the_sign() -> None:
    parameters = make_parameters()
    start = values(parameters)
    run(Adam(parameters, learning_rate=0.1, betas=(0.9, 0.999), epsilon=0), parameters, range(1))
    for name, grad in gradients(0).items():
        np.testing.assert_allclose(parameters[name].value, start[name] - 0.1 * np.sign(grad))


def test_factor_scales_the_learning_rate() -> None:
    halved, small = make_parameters(), make_parameters()
    run(AdamW(halved, **ADAM, weight_decay=0.3), halved, range(3), factor=0.5)
    settings = ADAM | {"learning_rate": ADAM["learning_rate"] / 2}
    run(AdamW(small, **settings, weight_decay=0.3), small, range(3))
    assert_close(values(halved), values(small))


OPTIMIZER_CASES: dict[str, Callable[[dict[str, Tensor]], Optimizer]] = {
    "sgd": lambda parameters: Sgd(parameters, **SGD),
    "adam": lambda parameters: Adam(parameters, **ADAM),
    "adamw": lambda parameters: AdamW(parameters, **ADAM, weight_decay=0.3),
    "muon": lambda parameters: Muon(parameters, **MUON),
}


def test_every_optimizer_is_tested() -> None:
    assert OPTIMIZER_CASES.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("name", OPTIMIZER_CASES)
def test_gradient_scale_scales_the_gradients(name: str) -> None:
    scaled, plain = make_parameters(), make_parameters()
    optimizer = OPTIMIZER_CASES[name](scaled)
    run(optimizer, scaled, range(2), gradient_scale=0.25)
    reference = OPTIMIZER_CASES[name](plain)
    for step in range(2):
        for each, grad in gradients(step).items():
            plain[each].grad = grad * 0.25
        reference.step(step)
    assert_close(values(scaled), values(plain))


@pytest.mark.parametrize("name", OPTIMIZER_CASES)
def test_step_leaves_gradients_alone_and_skips_what_has_none(name: str) -> None:
    parameters = make_parameters(np.float32)
    start = values(parameters)
    optimizer = OPTIMIZER_CASES[name](parameters)
    for each, grad in gradients(0).items():
        parameters[each].grad = grad.astype(np.float32)
        parameters[each].grad.flags.writeable = False  # type: ignore[union-attr]
    parameters["matrix"].grad = parameters["bias"].grad = None
    optimizer.step(0)
    for each, tensor in parameters.items():
        changed = (tensor.value != start[each]).any()
        assert changed == (each not in ("matrix", "bias"))
        assert tensor.dtype == np.float32


@pytest.mark.parametrize("name", OPTIMIZER_CASES)
def test_step_writes_into_the_arrays_that_the_parameters_hold(name: str) -> None:
    parameters = make_parameters()
    arrays = {each: tensor.value for each, tensor in parameters.items()}
    run(OPTIMIZER_CASES[name](parameters), parameters, range(1))
    assert all(parameters[each].value is array for each, array in arrays.items())


@pytest.mark.parametrize("name", OPTIMIZER_CASES)
def test_all_zero_gradients_give_no_nan(name: str) -> None:
    parameters = make_parameters(np.float32)
    optimizer = OPTIMIZER_CASES[name](parameters)
    for step in range(2):
        for tensor in parameters.values():
            tensor.grad = np.zeros_like(tensor.value)
        optimizer.step(step)
    assert all(np.isfinite(tensor.value).all() for tensor in parameters.values())


@pytest.mark.parametrize("name", sorted(OPTIMIZER_CASES.keys() - {"muon"}))
def test_a_parameter_may_be_a_single_number(name: str) -> None:
    number, vector = (Tensor(np.full(shape, 2.0), requires_grad=True) for shape in ((), (1,)))
    for tensor in (number, vector):
        optimizer = OPTIMIZER_CASES[name]({"temperature": tensor})
        for step in range(2):
            tensor.grad = np.full(tensor.shape, 0.3)
            optimizer.step(step)
    assert number.item() == vector.item() != 2.0


def test_adam_and_adamw_agree_with_torch() -> None:
    torch = pytest.importorskip("torch")
    for make, torch_class, decay in (
        (Adam, torch.optim.Adam, {}),
        (AdamW, torch.optim.AdamW, {"weight_decay": 0.3}),
    ):
        parameters = {n: each for n, each in make_parameters().items() if each.ndim == 2}
        theirs = {n: torch.nn.Parameter(torch.tensor(t.value)) for n, t in parameters.items()}
        ours = make(parameters, **ADAM, **decay)
        other = torch_class(
            theirs.values(),
            lr=ADAM["learning_rate"],
            betas=ADAM["betas"],
            eps=ADAM["epsilon"],
            **decay,
        )
        for step in range(5):
            for name in parameters:
                grad = gradients(step)[name]
                parameters[name].grad, theirs[name].grad = grad, torch.tensor(grad)
            ours.step(step)
            other.step()
        for name, tensor in parameters.items():
            np.testing.assert_allclose(tensor.value, theirs[name].detach().numpy(), rtol=1e-10)


# --- Muon -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16), (1, 9), (9, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_orthogonalise_moves_singular_values_near_1_and_keeps_the_vectors(
    shape: tuple[int, int], dtype: type, scale: float
) -> None:
    rank = min(shape)
    left, _ = np.linalg.qr(stream(0, "left").standard_normal((shape[0], rank)))
    right, _ = np.linalg.qr(stream(0, "right").standard_normal((shape[1], rank)))
    matrix = ((left * np.geomspace(0.1, 1, rank)) @ right.T * scale).astype(dtype)
    matrix.flags.writeable = False
    found = orthogonalise(matrix)
    assert found.shape == shape
    assert found.dtype == dtype
    in_basis = left.T @ found @ right  # diagonal, if the singular vectors stayed
    singular = np.diag(in_basis)
    assert singular.min() >= 0.6
    assert singular.max() <= 1.3
    np.testing.assert_allclose(in_basis, np.diag(singular), atol=1e-4)


def test_orthogonalise_of_a_random_matrix_is_nearly_orthogonal() -> None:
    for shape in ((40, 20), (20, 40)):
        singular = np.linalg.svd(
            orthogonalise(stream(0, "g").standard_normal(shape)), compute_uv=False
        )
        assert singular.min() >= 0.6
        assert singular.max() <= 1.3


def test_orthogonalise_of_zeros_is_zero() -> None:
    np.testing.assert_array_equal(orthogonalise(np.zeros((4, 3), np.float32)), np.zeros((4, 3)))


def slow_muon(theta: FloatArray, grads: list[FloatArray], factor: float = 1.0) -> FloatArray:
    """Jordan et al. 2024 with Nesterov momentum, decoupled decay, sqrt(max(1, out / in))."""
    n_in, n_out = theta.shape
    rate = MUON["matrix_learning_rate"] * factor
    buffer = np.zeros_like(theta)
    for grad in grads:
        buffer = MUON["momentum"] * buffer + grad
        x = grad + MUON["momentum"] * buffer
        x = x / (np.linalg.norm(x) + 1e-7)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        theta = theta * (1 - rate * MUON["weight_decay"])
        theta = theta - rate * math.sqrt(max(1, n_out / n_in)) * x
    return theta


@pytest.mark.parametrize("steps", [1, 4])
def test_muon_takes_the_named_matrices_and_leaves_the_rest_to_adamw(steps: int) -> None:
    parameters = make_parameters()
    start = values(parameters)
    run(Muon(parameters, **MUON), parameters, range(steps), factor=0.5)
    grads = [gradients(step) for step in range(steps)]
    for name, shape in SHAPES.items():
        series = [g[name] for g in grads]
        if name in MUON["matrices"]:
            expected = slow_muon(start[name], series, factor=0.5)
        else:
            decay = MUON["weight_decay"] if len(shape) >= 2 else 0.0
            expected = slow_adam(start[name], series, **ADAM, weight_decay=decay, factor=0.5)
        np.testing.assert_allclose(parameters[name].value, expected, rtol=1e-9, atol=1e-10)


def test_muon_steps_as_torchs_but_for_its_rounding() -> None:
    """torch.optim.Muon keeps a mean of gradients, not a sum, and iterates in bfloat16."""
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    parameters = {n: t for n, t in make_parameters().items() if n in MUON["matrices"]}
    start = values(parameters)
    # torch keeps a matrix as (out, in)
    theirs = {n: torch.nn.Parameter(torch.tensor(t.value.T.copy())) for n, t in parameters.items()}
    ours = Muon(parameters, **MUON | {"weight_decay": 0.0})
    other = torch.optim.Muon(
        theirs.values(),
        lr=MUON["matrix_learning_rate"],
        momentum=MUON["momentum"],
        weight_decay=0.0,
    )
    for step in range(4):
        for name in parameters:
            grad = gradients(step)[name]
            parameters[name].grad, theirs[name].grad = grad, torch.tensor(grad.T.copy())
        ours.step(step)
        other.step()
    for name, tensor in parameters.items():
        moved, theirs_moved = tensor.value - start[name], theirs[name].detach().numpy().T
        off = np.linalg.norm(moved - (theirs_moved - start[name])) / np.linalg.norm(moved)
        assert off < 0.05


# --- State ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZER_CASES)
def test_state_carries_a_run_on_as_if_it_had_not_stopped(name: str) -> None:
    whole = make_parameters(np.float32)
    run(OPTIMIZER_CASES[name](whole), whole, range(6))

    first = make_parameters(np.float32)
    stopped = OPTIMIZER_CASES[name](first)
    run(stopped, first, range(3))
    kept = {each: array.copy() for each, array in stopped.state().items()}
    second = {each: Tensor(t.value.copy(), requires_grad=True) for each, t in first.items()}
    resumed = OPTIMIZER_CASES[name](second)
    resumed.load_state(kept)
    run(stopped, first, range(3, 6))  # must not reach into what was loaded
    run(resumed, second, range(3, 6))
    for each in SHAPES:
        np.testing.assert_array_equal(second[each].value, whole[each].value)
    for each, array in resumed.state().items():
        np.testing.assert_array_equal(array, stopped.state()[each])


@pytest.mark.parametrize("name", OPTIMIZER_CASES)
def test_state_of_others_is_refused_and_changes_nothing(name: str) -> None:
    parameters = make_parameters()
    optimizer = OPTIMIZER_CASES[name](parameters)
    run(optimizer, parameters, range(2))
    before = {each: array.copy() for each, array in optimizer.state().items()}
    missing = {each: array + 1 for each, array in before.items()}
    missing.popitem()
    extra = {each: array + 1 for each, array in before.items()} | {"odd": np.ones(1)}
    last = list(before)[-1]
    reshaped = {each: array + 1 for each, array in before.items()} | {last: np.ones((2, 9))}
    for wrong in (missing, extra, reshaped, {}):
        with pytest.raises(ValueError, match="optimizer state"):
            optimizer.load_state(wrong)
        for each, array in optimizer.state().items():
            np.testing.assert_array_equal(array, before[each])


# --- Building -------------------------------------------------------------------------------------


def config(name: str, **changed: Any) -> OptimizerConfig:
    settings = {
        "learning_rate": 0.1,
        "betas": (0.9, 0.99),
        "epsilon": 1e-8,
        "weight_decay": 0.1,
        "matrix_learning_rate": 0.02,
        "momentum": 0.95,
        "nesterov": True,
    }
    return OptimizerConfig(name=name, **(settings | changed))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_build_optimizer_makes_what_the_configuration_names(name: str) -> None:
    optimizer = build_optimizer(config(name), make_parameters(), ["matrix"])
    assert type(optimizer) is OPTIMIZERS[name]
    if isinstance(optimizer, Muon):
        assert list(optimizer.matrices) == ["matrix"]
        assert set(optimizer.adamw.parameters) == SHAPES.keys() - {"matrix"}


def test_build_optimizer_refuses_an_unknown_name_and_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"'adma'.*'adam', 'adamw', 'muon', 'sgd'"):
        build_optimizer(config("adma"), make_parameters(), [])


@pytest.mark.parametrize(
    ("name", "setting"),
    [(name, setting) for name, settings in OPTIMIZER_SETTINGS.items() for setting in settings],
)
def test_build_optimizer_names_a_missing_setting(name: str, setting: str) -> None:
    with pytest.raises(InputError, match=f"{name} needs {setting}"):
        build_optimizer(config(name, **{setting: None}), make_parameters(), [])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_build_optimizer_wants_no_setting_that_it_does_not_use(name: str) -> None:
    unused = {each.name for each in fields(OptimizerConfig)} - {*OPTIMIZER_SETTINGS[name], "name"}
    build_optimizer(config(name, **dict.fromkeys(unused)), make_parameters(), [])


# --- Schedules and clipping -----------------------------------------------------------------------


def schedule(name: str, warmup_steps: int, final_fraction: float = 0.0) -> ScheduleConfig:
    return ScheduleConfig(name, warmup_steps, final_fraction, 0.2 if name == "wsd" else None)


@pytest.mark.parametrize("warmup_steps", [0, 1, 10])
@pytest.mark.parametrize("final_fraction", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_factor_rises_to_1_and_falls_to_its_final_fraction(
    name: str, final_fraction: float, warmup_steps: int
) -> None:
    settings = schedule(name, warmup_steps, final_fraction)
    course = [factor(step, 50, settings) for step in range(51)]  # the last is where the fall ends
    rise, fall = course[: warmup_steps + 1], course[warmup_steps:]
    np.testing.assert_allclose(rise[:-1], np.arange(1, warmup_steps + 1) / max(warmup_steps, 1))
    assert rise[-1] == max(course) == 1
    assert np.all(np.diff(fall) <= 0)
    assert fall[-1] == pytest.approx(1 if name == "constant" else final_fraction, abs=1e-12)


def test_schedules_have_the_shapes_of_their_names() -> None:
    assert SCHEDULES["linear"](0.25, 0.2) == pytest.approx(0.8)
    assert SCHEDULES["cosine"](0.5, 0.2) == pytest.approx(0.6)
    assert SCHEDULES["cosine"](0.25, 0.0) == pytest.approx((1 + math.sqrt(0.5)) / 2)


@pytest.mark.parametrize(
    ("steps", "warmup_steps", "decay_fraction", "expected"),
    [
        (10, 2, 0.3, [0.5, 1, 1, 1, 1, 1, 1, 1, 0.7, 0.4]),
        (10, 0, 0.3, [1, 1, 1, 1, 1, 1, 1, 1, 0.7, 0.4]),
        (5, 2, 0.6, [0.5, 1, 1, 0.7, 0.4]),  # nothing stable between rise and fall
        (3, 0, 1.0, [1, 0.7, 0.4]),  # a fall only
        (4, 1, 0.01, [1, 1, 1, 1]),  # one step at the least, which is the fall's first
        (1, 0, 0.5, [1]),
    ],
)
def test_wsd_rises_waits_and_falls(
    steps: int, warmup_steps: int, decay_fraction: float, expected: list[float]
) -> None:
    settings = ScheduleConfig("wsd", warmup_steps, 0.1, decay_fraction)
    course = [factor(step, steps, settings) for step in range(steps + 1)]
    assert course[:-1] == pytest.approx(expected)
    assert course[-1] == pytest.approx(0.1)


def test_wsd_over_all_steps_is_linear() -> None:
    wsd, linear = ScheduleConfig("wsd", 0, 0.1, 1.0), ScheduleConfig("linear", 0, 0.1, None)
    assert [factor(step, 7, wsd) for step in range(7)] == [
        factor(step, 7, linear) for step in range(7)
    ]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup_steps", [0, 3])
def test_a_run_of_any_length_has_factors_between_0_and_1(name: str, warmup_steps: int) -> None:
    for steps in range(1, 6):
        for step in range(steps):
            assert 0 <= factor(step, steps, schedule(name, warmup_steps)) <= 1


def test_global_norm_is_of_all_gradients_as_one_vector() -> None:
    parameters = make_parameters()
    assert global_norm(parameters.values()) == 0
    for name, grad in gradients(0).items():
        parameters[name].grad = grad
    parameters["bias"].grad = None
    others = [grad.ravel() for name, grad in gradients(0).items() if name != "bias"]
    expected = np.linalg.norm(np.concatenate(others))
    assert global_norm(parameters.values()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("norm", "limit", "expected"),
    [(0.0, 1.0, 1), (0.5, 1.0, 1), (1.0, 1.0, 1), (4.0, 1.0, 0.25), (5.0, 2.5, 0.5), (9, None, 1)],
)
def test_clip_scale_shortens_only_what_is_too_long(
    norm: float, limit: float | None, expected: float
) -> None:
    assert clip_scale(norm, limit) == expected
