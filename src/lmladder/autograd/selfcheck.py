"""The check of all ops, or of some: what `lmladder gradcheck` runs, and the tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmladder.autograd.cases import CASES, KINKS, Case
from lmladder.autograd.gradcheck import TOLERANCE, gradcheck
from lmladder.autograd.tensor import Tensor
from lmladder.system.arrays import FloatArray

import numpy as np

TOLERANCE_32 = 1e-4  # of gradients in float32 against those in float64; see `row_error_32`


def _reversed(array: FloatArray) -> FloatArray:
    return np.flip(np.flip(array).copy())


def _every_second(array: FloatArray) -> FloatArray:
    wide = np.full((*array.shape, 2), np.nan, array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


# The same numbers, in another order or with gaps between them.
LAYOUTS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "rows": lambda array: np.array(array, order="C"),
    "columns": lambda array: np.array(array, order="F"),
    "reversed": _reversed,
    "gaps": _every_second,
}


@dataclass(frozen=True)
class Verdict:
    """What the rows of one op came to; an error is nan where a row raised or gave nan."""

    op: str
    rows: int
    error: float
    error_32: float
    kinks_hold: bool
    failure: str = ""  # what a row raised

    @property
    def passed(self) -> bool:
        return self.error < TOLERANCE and self.error_32 < TOLERANCE_32 and self.kinks_hold


def op_names() -> list[str]:
    """The ops that have rows, in the order of `ops.py` and `functional.py`."""
    return list(dict.fromkeys(case.op for case in CASES))


def check_op(op: str, *, seed: int = 0) -> Verdict:
    """Run all rows and kinks of an op, each row in every memory layout."""
    rows = [case for case in CASES if case.op == op]
    try:
        errors = [row_error(case, seed=seed, layout=layout) for case in rows for layout in LAYOUTS]
        errors_32 = [row_error_32(case, seed=seed) for case in rows]
        kinks_hold = all(kink.holds() for kink in KINKS if kink.op == op)
    except Exception as raised:  # whatever a wrong pullback makes NumPy or the engine say
        return Verdict(op, len(rows), float("nan"), float("nan"), False, str(raised))
    return Verdict(op, len(rows), float(np.max(errors)), float(np.max(errors_32)), kinks_hold)


def row_error(case: Case, *, seed: int = 0, layout: str = "rows") -> float:
    """Largest relative error of a row's gradients in float64; see `gradcheck`."""
    rng = np.random.default_rng(seed)
    inputs = [LAYOUTS[layout](draw(rng)) for draw in case.draws]
    return gradcheck(case, inputs, rng=rng)


def row_error_32(case: Case, *, seed: int = 0) -> float:
    """Largest distance of a row's gradients in float32 from those in float64.

    Relative to the largest number of each gradient, or to 1 where that is less.
    """
    single, double = (gradients(case, dtype, seed=seed) for dtype in (np.float32, np.float64))
    distances = [
        np.max(np.abs(a - b), initial=0) / np.max(np.abs(b), initial=1)
        for a, b in zip(single, double, strict=True)
    ]
    return float(np.max(distances))


def gradients(case: Case, dtype: Any, *, seed: int = 0, layout: str = "rows") -> list[FloatArray]:
    """A row's gradients for a random upstream gradient, all arrays of one type and layout."""
    rng = np.random.default_rng(seed)
    lay = LAYOUTS[layout]
    tensors = [Tensor(lay(draw(rng).astype(dtype)), requires_grad=True) for draw in case.draws]
    out = case(*tensors)
    out.backward(lay(np.asarray(rng.standard_normal(out.shape)).astype(out.dtype)))
    return [np.zeros_like(each.value) if each.grad is None else each.grad for each in tensors]
