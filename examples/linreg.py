"""Linear regression by gradient descent, beside the closed form.

    python examples/linreg.py

Draws points from known coefficients and noise, then recovers the coefficients twice: by following
the gradient that `backward` leaves, and by the normal equations. Both miss the truth by what the
noise did; they differ from each other by nothing that shows.
"""

from lmladder.autograd import Tensor

import numpy as np

TRUE = np.array([2.0, -3.0, 0.5])  # the last one is the constant term
POINTS, NOISE = 200, 0.1
STEPS, RATE = 300, 0.1


def main() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.standard_normal((POINTS, 2)), np.ones(POINTS)])
    y = x @ TRUE + NOISE * rng.standard_normal(POINTS)

    w = Tensor(np.zeros(3), requires_grad=True)
    for _ in range(STEPS):
        w.grad = None
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        w.value -= RATE * w.grad

    closed, *_ = np.linalg.lstsq(x, y)
    print("true coefficients  ", TRUE)
    print("closed form        ", closed.round(4))
    print("gradient descent   ", w.value.round(4))
    print(f"mean square error   {loss.item():.5f} (the noise's variance is {NOISE**2:.5f})")
    print(f"largest difference from the closed form: {np.abs(w.value - closed).max():.0e}")
    print(f"largest difference from the truth: {np.abs(w.value - TRUE).max():.3f}")


if __name__ == "__main__":
    main()
