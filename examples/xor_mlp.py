"""Exclusive or, which no straight line can separate, learned by a hidden layer of eight.

python examples/xor_mlp.py
"""

from lmladder.autograd import Tensor, functional, ops

import numpy as np

INPUTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
CLASSES = np.array([0, 1, 1, 0])
HIDDEN, STEPS, RATE = 8, 500, 0.5


def main() -> None:
    rng = np.random.default_rng(0)
    weights = [
        Tensor(rng.standard_normal(shape), requires_grad=True)
        for shape in [(2, HIDDEN), (HIDDEN,), (HIDDEN, 2), (2,)]
    ]
    for step in range(STEPS + 1):
        up, up_bias, down, down_bias = weights
        hidden = ops.tanh(INPUTS @ up + up_bias)
        logits = hidden @ down + down_bias
        loss = functional.cross_entropy(logits, CLASSES)
        if step % 100 == 0:
            right = (logits.value.argmax(axis=1) == CLASSES).mean()
            print(f"step {step:3}: {loss.item():.4f} nats, {right:.0%} right")
        loss.backward()
        for weight in weights:
            weight.value -= RATE * weight.grad
            weight.grad = None
    for (a, b), scores in zip(INPUTS, functional.softmax(logits).value, strict=True):
        print(f"{a:.0f} xor {b:.0f}: {scores.argmax()} with probability {scores.max():.3f}")


if __name__ == "__main__":
    main()
