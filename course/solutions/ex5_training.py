"""Exercise 5: a training loop."""

import numpy as np


def train(parameters, loss, batches, *, learning_rate, momentum, clip_norm):
    """Train by gradient descent with momentum and clipping; return the loss of each batch.

    For each batch, in this order:

    1. Compute its loss, and by `backward` the gradient g of each parameter.
    2. Clip: norm is the square root of the sum of the squares of all elements of all gradients. If
       it is above clip_norm, multiply every g by clip_norm / norm.
    3. velocity <- momentum * velocity + g, for each parameter; each velocity begins as zeros.
    4. parameter <- parameter - learning_rate * velocity.
    5. Clear all gradients (set them to None), because the next `backward` adds to them.

    Parameters
    ----------
    parameters : list of Tensors; `.value` is the array, which you may assign or change in place,
        and `.grad` the gradient after `backward`, which is read-only
    loss : function of a batch that returns a Tensor of shape (), which depends on all parameters
    batches : iterable of batches

    Returns
    -------
    list of floats: the loss of each batch before the step that it causes (`tensor.item()`)
    """
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
