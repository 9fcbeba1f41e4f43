"""The check of ops that `lmladder gradcheck` and the tests run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmladder.autograd.cases import CASES, KINKS, Case
from lmladder.autograd.gradcheck import TOLERANCE, gradcheck
from lmladder.autograd.tensor import Tensor
from lmladder.system.arrays import FloatArray

import numpy as np

TOLERANCE_32 = 1e-4  # see `case_error_32`


# Functions that copy an array into another memory layout.
LAYOUTS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "rows": lambda array: np.array(array, order="C"),
    "columns": lambda array: np.array(array, order="F"),
    "reversed": lambda array: np.flip(np.flip(array).copy()),
    "gaps": lambda array: np.stack([array, np.full_like(array, np.nan)], axis=-1)[..., 0],
}


@dataclass(frozen=True)
class Verdict:
    """The result of checking an op.

    Attributes
    ----------
    rows : number of its cases
    error, error_32 : the largest errors of its cases in float64 and float32; nan if one raises
    kinks_hold : whether the gradients at kinks are correct
    failure : the message of the exception, if a case raises one
    """

    rows: int
    error: float
    error_32: float
    kinks_hold: bool
    failure: str = ""

    @property
    def passed(self) -> bool:
        return self.error < TOLERANCE and self.error_32 < TOLERANCE_32 and self.kinks_hold


def op_names(cases: Sequence[Case] = CASES) -> list[str]:
    """Return the names of the ops that have cases, in their order."""
    return list(dict.fromkeys(case.op for case in cases))


def check_op(op: str, among: Sequence[Case] = CASES, *, seed: int = 0) -> Verdict:
    """Run all cases `among` these, and all kinks, of an op; in float64, in every memory layout."""
    cases = [case for case in among if case.op == op]
    try:
        errors = [
            case_error(case, seed=seed, layout=layout) for case in cases for layout in LAYOUTS
        ]
        errors_32 = [case_error_32(case, seed=seed) for case in cases]
        kinks_hold = all(kink.holds() for kink in KINKS if kink.op == op)
    except Exception as raised:  # a wrong pullback may raise anything
        return Verdict(len(cases), float("nan"), float("nan"), False, str(raised))
    return Verdict(len(cases), float(np.max(errors)), float(np.max(errors_32)), kinks_hold)


def case_error(case: Case, *, seed: int = 0, layout: str = "rows") -> float:
    """Return the largest relative error of the gradients of a case in float64; see `gradcheck`."""
    rng = np.random.default_rng(seed)
    inputs = [LAYOUTS[layout](draw(rng)) for draw in case.draws]
    return gradcheck(case, inputs, rng=rng)


def case_error_32(case: Case, *, seed: int = 0) -> float:
    """Return the largest difference of the gradients of a case in float32 and float64.

    It is relative to the largest element of each gradient, or to 1 if that is less.
    """
    single, double = (gradients(case, dtype, seed=seed) for dtype in (np.float32, np.float64))
    distances = [
        np.max(np.abs(a - b), initial=0) / np.max(np.abs(b), initial=1)
        for a, b in zip(single, double, strict=True)
    ]
    return float(np.max(distances))


def gradients(case: Case, dtype: Any, *, seed: int = 0) -> list[FloatArray]:
    """Return the gradients of a case for a random upstream gradient, in one dtype."""
    rng = np.random.default_rng(seed)
    tensors = [Tensor(draw(rng).astype(dtype), requires_grad=True) for draw in case.draws]
    out = case(*tensors)
    out.backward(np.asarray(rng.standard_normal(out.shape), out.dtype))
    return [np.zeros_like(each.value) if each.grad is None else each.grad for each in tensors]
