"""Scaling laws: how the loss depends on the size of a model and on the tokens it was trained on.

    L(N, D) = E + A / N^a + B / D^b

(Hoffmann et al. 2022, arXiv 2203.15556). E is the entropy of the text, below which no model can be.
It is usually unknown and fitted, too. There are three methods:

huber
    The Huber loss of the logarithm by L-BFGS, as Hoffmann et al. fit.
projection
    Least squares by variable projection: for each pair of exponents, the best E, A and B solve a
    linear problem without negative values, so the search is in two dimensions only (Golub and
    Pereyra 1973; for scaling laws arXiv 2603.22339).
known
    Least squares of the excess over the true entropy, which is not fitted, by the same search.

Intervals are percentiles of a bootstrap that draws cells, the runs of one size and length, with
replacement and fits the law again. So they include that a law does not fit exactly. A law of five
numbers is fitted to some dozen cells, so they are too narrow: benchmarks/scaling.py measures how
often they contain the truth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmladder.system.arrays import FloatArray, IntArray
from lmladder.system.errors import InputError
from lmladder.system.progress import CountingProgress
from lmladder.system.streams import stream

import numpy as np
from scipy import optimize, special

HUBER = 1e-3  # residual of the logarithm up to which the loss of Hoffmann et al. is quadratic
LOWEST, HIGHEST = 0.01, 4.0  # exponents
STARTS = [(a, b) for a in (0.1, 0.4, 1.0) for b in (0.1, 0.4, 1.0)]  # exponents
FLOPS = 6  # of each parameter and token in training (Kaplan et al. 2020, arXiv 2001.08361)
PERCENTILES = (2.5, 97.5)
MIN_CELLS = 6  # one more than the numbers of a law


@dataclass(frozen=True)
class Points:
    """The results of runs, each of shape (runs,).

    Attributes
    ----------
    sizes : parameters, N
    tokens : read in training, D
    losses : in nats per token
    """

    sizes: FloatArray
    tokens: FloatArray
    losses: FloatArray

    @property
    def cells(self) -> IntArray:
        """The number of the cell of each run, from 0."""
        both = np.stack([self.sizes, self.tokens])
        cells: IntArray = np.unique(both, axis=1, return_inverse=True)[1].ravel()
        return cells

    def chosen(self, runs: IntArray) -> "Points":
        """Return the points of these runs, by mask or number."""
        return Points(self.sizes[runs], self.tokens[runs], self.losses[runs])


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

    def optimum(self, flops: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return size and tokens of the best model for a compute of 6 N D operations.

        They are NaN if the loss does not depend on the size or not on the tokens.
        """
        if self.A == 0 or self.B == 0:
            return np.full_like(flops, np.nan), np.full_like(flops, np.nan)
        ratio = self.a * self.A / (self.b * self.B)
        sizes = ratio ** (1 / (self.a + self.b)) * (flops / FLOPS) ** self.growth
        return sizes, flops / FLOPS / sizes


def projection(points: Points, entropy: float | None = None, start: Law | None = None) -> Law:
    """Return the law with the least sum of squares.

    Parameters
    ----------
    entropy : E, if it is not to be fitted
    start : where the search begins; by default at several places
    """
    (n, n_unit), (d, d_unit) = _scaled(points.sizes), _scaled(points.tokens)
    goal = points.losses - (entropy or 0.0)
    columns = [np.ones_like(goal)] if entropy is None else []

    def solved(exponents: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the best factors for the logarithms of exponents, and the residuals."""
        a, b = _bounded(exponents)
        matrix = np.stack([*columns, n**-a, d**-b], axis=1)
        factors = optimize.nnls(matrix, goal)[0]
        return factors, matrix @ factors - goal

    starts = STARTS if start is None else [(start.a, start.b)]
    found = [
        optimize.leastsq(lambda x: solved(x)[1], np.log(each), ftol=1e-9, xtol=1e-6)[0]
        for each in starts
    ]
    best = min(found, key=lambda x: float(np.square(solved(x)[1]).sum()))
    (a, b), (*fitted, size, data) = _bounded(best).tolist(), solved(best)[0].tolist()
    return Law(fitted[0] if fitted else entropy or 0.0, size * n_unit**a, a, data * d_unit**b, b)


def huber(points: Points, _: float | None = None, start: Law | None = None) -> Law:
    """Return the law with the least Huber loss of the logarithm of the loss.

    The search begins at `start`, by default at the least sum of squares.
    """
    (n, n_unit), (d, d_unit) = _scaled(points.sizes), _scaled(points.tokens)
    goal, n, d = np.log(points.losses), np.log(n), np.log(d)

    def cost(x: FloatArray) -> tuple[float, FloatArray]:
        """Return the loss and its gradient with respect to log E, log A, log B, log a, log b."""
        a, b = _bounded(x[3:])
        logs = np.stack([np.full_like(n, x[0]), x[1] - a * n, x[2] - b * d])
        predicted = special.logsumexp(logs, axis=0)
        residual = (predicted - goal) / HUBER
        slopes = np.clip(residual, -1, 1) * np.exp(logs - predicted) / HUBER
        of_exponents = [-a * (slopes[1] @ n), -b * (slopes[2] @ d)]
        return float(special.huber(1, residual).sum()), np.array([*slopes.sum(1), *of_exponents])

    begin = start or projection(points)
    factors = [begin.E, begin.A * n_unit**-begin.a, begin.B * d_unit**-begin.b]
    first = np.log([*np.maximum(factors, 1e-3), begin.a, begin.b])
    bounds = [(-9.0, 5.0)] * 3 + [tuple(np.log([LOWEST, HIGHEST]))] * 2
    found = optimize.minimize(
        cost, first, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-9},
    )  # fmt: skip
    entropy, size, data, a, b = np.exp(found.x).tolist()
    return Law(entropy, size * n_unit**a, a, data * d_unit**b, b)


def _scaled(values: FloatArray) -> tuple[FloatArray, float]:
    """Return the values as multiples of their geometric mean, so that factors have one scale."""
    unit = float(np.exp(np.log(values).mean()))
    return values / unit, unit


def _bounded(exponents: FloatArray) -> FloatArray:
    """Return exponents of these logarithms."""
    return np.exp(np.clip(exponents, np.log(LOWEST), np.log(HIGHEST)))


METHODS: dict[str, Callable[[Points, float | None, Law | None], Law]] = {
    "huber": huber,
    "projection": projection,
    "known": projection,
}


@dataclass(frozen=True)
class Fit:
    """A law and those of resampled runs.

    Attributes
    ----------
    method : of `METHODS`
    deviation : root of the mean square of the residuals of the runs, in nats per token
    """

    method: str
    law: Law
    resampled: tuple[Law, ...]
    deviation: float

    def interval(self, value: Callable[[Law], Any]) -> FloatArray:
        """Return the 95% interval of a value of the law, or of each of an array: (2, ...)."""
        values = [value(each) for each in self.resampled]
        bounds: FloatArray = np.percentile(values, PERCENTILES, axis=0)
        return bounds


def fit(points: Points, method: str, entropy: float | None = None, *, resamples: int) -> Fit:
    """Fit a law by a method of `METHODS`.

    Parameters
    ----------
    entropy : the true one, for `known`; others ignore it
    resamples : number of the draws for intervals

    Raises
    ------
    InputError
        If there are too few runs of different sizes and lengths.
    """
    cells = points.cells
    n_cells = int(cells.max(initial=-1)) + 1
    lengths = [len(np.unique(each)) for each in (points.sizes, points.tokens)]
    if n_cells < MIN_CELLS or min(lengths) < 3:
        raise InputError(
            f"a law needs runs of {MIN_CELLS} combinations, of 3 sizes and 3 numbers of tokens at "
            f"least; there are {n_cells}, of {lengths[0]} and {lengths[1]}"
        )
    known = entropy if method == "known" else None
    law = METHODS[method](points, known, None)
    rng = stream(0, "resampled runs")
    runs = [np.flatnonzero(cells == each) for each in range(n_cells)]
    resampled: list[Law] = []
    with CountingProgress(method, "fits", resamples) as progress:
        while len(resampled) < resamples:
            numbers = rng.integers(n_cells, size=n_cells)
            drawn = points.chosen(np.concatenate([runs[each] for each in numbers]))
            if min(len(np.unique(each)) for each in (drawn.sizes, drawn.tokens)) >= 3:
                resampled.append(METHODS[method](drawn, known, law))
                progress.advance(1)
    residuals = law.loss(points.sizes, points.tokens) - points.losses
    deviation = float(np.sqrt(np.square(residuals).mean()))
    return Fit(method, law, tuple(resampled), deviation)
