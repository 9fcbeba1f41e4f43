"""The twin in JAX: one compiled function a step, which takes over the memory of its inputs."""

from functools import partial
from importlib import import_module
from typing import Any

from benchmarks import shapes
from benchmarks.engines import Engine, Step, Weights
from benchmarks.shapes import Size

import numpy as np

# By name, for JAX brings its types along, and this file shall check the same without it.
jax: Any = import_module("jax")
jnp: Any = import_module("jax.numpy")


def engine(name: str, threads: int) -> Engine:
    """XLA has one thread for each core that the process may run on."""
    return Engine(jax.__version__, trainer)


def joined(size: Size, weights: Weights) -> dict[str, Any]:
    """The weights with query, key and value of each layer in one matrix, and in one bias."""
    parameters = {}
    for name, array in weights.items():
        if ".attention.query." in name:
            parts = [weights[name.replace("query", part)] for part in ("query", "key", "value")]
            parameters[name.replace("query", "qkv")] = jnp.asarray(np.concatenate(parts, axis=-1))
        elif ".attention.key." not in name and ".attention.value." not in name:
            parameters[name] = jnp.asarray(array)
    return parameters


def loss_of(parameters: dict[str, Any], rows: Any, size: Size) -> Any:
    def linear(x: Any, name: str) -> Any:
        return x @ parameters[f"{name}.weight"] + parameters[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + shapes.NORM_EPSILON)
        return normal * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]

    def attention(x: Any, name: str) -> Any:
        parts = jnp.split(linear(x, f"{name}.qkv"), 3, axis=-1)
        q, k, v = (part.reshape(*x.shape[:2], size.heads, -1) for part in parts)
        scores = jnp.einsum("bqhi,bkhi->bhqk", q, k) * (size.width // size.heads) ** -0.5
        scores = jnp.where(jnp.tri(x.shape[1], dtype=bool), scores, -jnp.inf)
        heads = jnp.einsum("bhqk,bkhi->bqhi", jax.nn.softmax(scores), v)
        return linear(heads.reshape(x.shape), f"{name}.output")

    ids, targets = rows[:, :-1], rows[:, 1:]
    x = parameters["tokens.weight"][ids] + parameters["positions.weight"][: ids.shape[1]]
    for layer in range(size.layers):
        block = f"blocks.{layer}"
        x = x + attention(norm(x, f"{block}.attention_norm"), f"{block}.attention")
        hidden = linear(norm(x, f"{block}.feed_forward_norm"), f"{block}.feed_forward.up_proj")
        x = x + linear(jax.nn.gelu(hidden, approximate=True), f"{block}.feed_forward.down_proj")
    logits = norm(x, "norm") @ parameters["tokens.weight"].T
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return -chosen.mean()


def train_step(
    parameters: dict[str, Any], means: Any, squares: Any, number: Any, rows: Any, *, size: Size
) -> Any:
    """One step of AdamW, `number` counted from 1: the new state, and the loss before."""
    loss, grads = jax.value_and_grad(loss_of)(parameters, rows, size)
    norm = jnp.sqrt(sum(jnp.vdot(grad, grad) for grad in grads.values()))
    scale = jnp.minimum(1.0, shapes.CLIP_NORM / norm)
    beta_mean, beta_square = shapes.BETAS
    new_parameters, new_means, new_squares = {}, {}, {}
    for name, value in parameters.items():
        grad = grads[name] * scale
        mean = beta_mean * means[name] + (1 - beta_mean) * grad
        square = beta_square * squares[name] + (1 - beta_square) * grad * grad
        root = jnp.sqrt(square / (1 - beta_square**number)) + shapes.EPSILON
        decay = shapes.WEIGHT_DECAY if value.ndim >= 2 else 0.0
        change = mean / (1 - beta_mean**number) / root + decay * value
        new_parameters[name] = value - shapes.LEARNING_RATE * change
        new_means[name], new_squares[name] = mean, square
    return new_parameters, new_means, new_squares, number + 1, loss


def trainer(size: Size, weights: Weights) -> Step:
    parameters = joined(size, weights)
    zeros = {name: jnp.zeros_like(array) for name, array in parameters.items()}
    more_zeros = {name: jnp.zeros_like(array) for name, array in parameters.items()}
    state: tuple[Any, ...] = (parameters, zeros, more_zeros, jnp.float32(1))
    compiled = jax.jit(partial(train_step, size=size), donate_argnums=(0, 1, 2, 3))

    def step(rows: Any) -> float:
        nonlocal state
        *new, loss = compiled(*state, rows)
        state = tuple(new)
        return float(loss)  # waits for the whole step

    return step
