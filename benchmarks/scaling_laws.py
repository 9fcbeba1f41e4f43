"""Scaling laws: how the loss depends on the size of a model and on the tokens it was trained on.

    L(N, D) = E + A / N^a + B / D^b

(Hoffmann et al. 2022, arXiv 2203.15556). E is the entropy of the text. There are three methods:

huber
    The Huber loss of the logarithm by L-BFGS, as Hoffmann et al. fit.
projection
    Least squares by variable projection: for each pair of exponents, the best E, A and B solve a
    linear problem without negative values, so the search is in two dimensions only (Golub and
    Pereyra 1973; for scaling laws arXiv 2603.22339).
known
    Least squares of the excess over the true entropy, which is not fitted, by the same search.

Intervals are percentiles of a bootstrap that draws cells, the runs of one size and length, with
replacement and fits the law again. `Points` has the rows sizes, tokens and losses (3, runs).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.streams import stream

import numpy as np
from scipy import optimize, special

Points: TypeAlias = FloatArray
METHODS = ("huber", "projection", "known")
HUBER = 1e-3  # residual of the logarithm up to which the loss of Hoffmann et al. is quadratic
LIMITS = np.log([0.01, 4.0])  # of the logarithms of exponents
STARTS = [(a, b) for a in (0.1, 0.4, 1.0) for b in (0.1, 0.4, 1.0)]  # exponents
FLOPS = 6  # of each parameter and token in training (Kaplan et al. 2020, arXiv 2001.08361)
MIN_CELLS = 6  # one more than the numbers of a law


@dataclass(frozen=True)
class Law:
    """The law E + A / N^a + B / D^b."""

    E: float
    A: float
    a: float
    B: float
    b: float

    def loss(self, sizes: FloatArray, tokens: FloatArray) -> FloatArray:
        """Return the loss of models of these sizes after these numbers of tokens."""
        return self.E + self.A * sizes**-self.a + self.B * tokens**-self.b

    @property
    def growth(self) -> float:
        """The power of the compute with which the size of the best model grows."""
        return self.b / (self.a + self.b)

    def optimum(self, flops: float) -> tuple[FloatArray, FloatArray]:
        """Return size and tokens of the best model for a compute of 6 N D; NaN without one."""
        ratio = self.a * self.A / (self.b * self.B) if self.A * self.B else np.nan
        sizes = np.array(ratio ** (1 / (self.a + self.b)) * (flops / FLOPS) ** self.growth)
        return sizes, flops / FLOPS / sizes


def projection(points: Points, entropy: float | None = None, start: Law | None = None) -> Law:
    """Return the law with the least sum of squares.

    Parameters
    ----------
    entropy : E, if it is not to be fitted
    start : where the search begins; by default at several places
    """
    (n, n_unit), (d, d_unit) = map(_scaled, points[:2])
    goal = points[2] - (entropy or 0.0)
    columns = [np.ones_like(goal)] if entropy is None else []

    def solved(exponents: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the best factors for the logarithms of exponents, and the residuals."""
        a, b = np.exp(np.clip(exponents, *LIMITS))
        matrix = np.stack([*columns, n**-a, d**-b], axis=1)
        factors = optimize.nnls(matrix, goal)[0]
        return factors, matrix @ factors - goal

    starts = STARTS if start is None else [(start.a, start.b)]
    found = [
        optimize.leastsq(lambda x: solved(x)[1], np.log(each), ftol=1e-9, xtol=1e-6)[0]
        for each in starts
    ]
    best = min(found, key=lambda x: float(np.square(solved(x)[1]).sum()))
    (a, b), (*fitted, size, data) = np.exp(np.clip(best, *LIMITS)), solved(best)[0]
    numbers = (*(fitted or [entropy or 0.0]), size * n_unit**a, a, data * d_unit**b, b)
    return Law(*map(float, numbers))


def huber(points: Points, start: Law | None = None) -> Law:
    """Return the law with the least Huber loss of the logarithm of the loss.

    The search begins at `start`, by default at the least sum of squares.
    """
    (n, n_unit), (d, d_unit) = map(_scaled, points[:2])
    n, d, goal = np.log([n, d, points[2]])

    def cost(x: FloatArray) -> tuple[float, FloatArray]:
        """Return the loss and its gradient with respect to log E, log A, log B, log a, log b."""
        a, b = np.exp(np.clip(x[3:], *LIMITS))
        logs = np.stack([np.full_like(n, x[0]), x[1] - a * n, x[2] - b * d])
        predicted = special.logsumexp(logs, axis=0)
        residual = (predicted - goal) / HUBER
        slopes = np.clip(residual, -1, 1) * np.exp(logs - predicted) / HUBER
        of_exponents = [-a * (slopes[1] @ n), -b * (slopes[2] @ d)]
        return float(special.huber(1, residual).sum()), np.array([*slopes.sum(1), *of_exponents])

    begin = start or projection(points)
    factors = [begin.E, begin.A * n_unit**-begin.a, begin.B * d_unit**-begin.b]
    first = np.log([*np.maximum(factors, 1e-3), begin.a, begin.b])
    found = optimize.minimize(
        cost, first, jac=True, method="L-BFGS-B", bounds=[(-9.0, 5.0)] * 3 + [tuple(LIMITS)] * 2,
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-9},
    )  # fmt: skip
    entropy, size, data, a, b = np.exp(found.x).tolist()
    return Law(entropy, size * n_unit**a, a, data * d_unit**b, b)


def _scaled(values: FloatArray) -> tuple[FloatArray, float]:
    """Return the values as multiples of their geometric mean, so that factors have one scale."""
    unit = float(np.exp(np.log(values).mean()))
    return values / unit, unit


def law_of(points: Points, method: str, entropy: float | None, start: Law | None = None) -> Law:
    """Return the law that a method of `METHODS` fits; only `known` reads the true entropy."""
    if method == "huber":
        return huber(points, start)
    return projection(points, entropy if method == "known" else None, start)


@dataclass(frozen=True)
class Fit:
    """A law, those of resampled runs, and the root mean square of the residuals in nats."""

    law: Law
    resampled: list[Law]
    deviation: float

    def interval(self, value: Callable[[Law], Any]) -> FloatArray:
        """Return the 95% interval of a value of the law, or of each of an array: (2, ...)."""
        values = [value(each) for each in self.resampled]
        return np.asarray(np.percentile(values, (2.5, 97.5), axis=0))


def cells_of(points: Points) -> IntArray:
    """Return the number of the cell of each run, from 0."""
    return np.asarray(np.unique(points[:2], axis=1, return_inverse=True)[1]).ravel()


def fit(points: Points, method: str, entropy: float | None = None, *, resamples: int) -> Fit:
    """Fit a law by a method of `METHODS`, with as many draws for intervals as `resamples`.

    Raises
    ------
    InputError
        If there are too few runs of different sizes and lengths.
    """
    cells = cells_of(points)
    runs = [np.flatnonzero(cells == each) for each in range(cells.max(initial=-1) + 1)]
    lengths = [len(np.unique(each)) for each in points[:2]]
    if len(runs) < MIN_CELLS or min(lengths) < 3:
        raise InputError(
            f"a law needs runs of {MIN_CELLS} combinations, of 3 sizes and 3 numbers of tokens at "
            f"least; there are {len(runs)}, of {lengths[0]} and {lengths[1]}"
        )
    law, rng = law_of(points, method, entropy), stream(0, "resampled runs")
    resampled: list[Law] = []
    while len(resampled) < resamples:
        drawn = np.concatenate([runs[each] for each in rng.integers(len(runs), size=len(runs))])
        if min(len(np.unique(each)) for each in points[:2, drawn]) >= 3:
            resampled.append(law_of(points[:, drawn], method, entropy, law))
    residuals = law.loss(*points[:2]) - points[2]
    return Fit(law, resampled, float(np.sqrt(np.square(residuals).mean())))
