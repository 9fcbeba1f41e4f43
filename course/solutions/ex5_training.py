"""Solution of exercise 5: a training loop."""

import numpy as np


def train(parameters, loss, batches, *, learning_rate, momentum, clip_norm):
    velocities = [np.zeros(parameter.shape) for parameter in parameters]
    losses = []
    for batch in batches:
        result = loss(batch)
        result.backward()
        losses.append(result.item())
        norm = np.sqrt(sum((parameter.grad**2).sum() for parameter in parameters))
        scale = clip_norm / max(norm, clip_norm)
        for parameter, velocity in zip(parameters, velocities, strict=True):
            velocity *= momentum
            velocity += scale * parameter.grad
            parameter.value -= learning_rate * velocity
            parameter.grad = None
    return losses
