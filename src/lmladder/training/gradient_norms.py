"""Diagnosis of training: groups of parameters, and where a value is first not finite."""

import warnings
from collections.abc import Iterable, Mapping

from lmladder.autograd import Tensor
from lmladder.autograd.tensor import inputs_first, reverse
from lmladder.nn import Embedding, LayerNorm, Module, RmsNorm

import numpy as np


def parameter_groups(model: Module) -> dict[str, list[Tensor]]:
    """Return the parameters of any model by purpose, in the order in which they are found.

    Embeddings are "embedding" (also where the head shares them), the scales and shifts of norms
    "norm", the layer called unembedding "head". All others belong to the part of the model, or of a
    block, that their names contain: "blocks.0.feed_forward.up_proj.weight" to "feed_forward",
    "layers.0.bias" to "layers".
    """
    modules = dict(model.modules())
    groups: dict[str, list[Tensor]] = {}
    for name, tensor in model.parameters().items():
        owner = name.rpartition(".")[0]
        groups.setdefault(_group(owner or name, modules[owner]), []).append(tensor)
    return groups


def _group(name: str, module: Module) -> str:
    if isinstance(module, Embedding):
        return "embedding"
    if isinstance(module, LayerNorm | RmsNorm):
        return "norm"
    if name.endswith("unembedding"):
        return "head"
    first, _, rest = name.partition(".")
    index, _, part = rest.partition(".")
    return part.partition(".")[0] or first if index.isdecimal() else first


def first_not_finite(model: Module, losses: Iterable[Tensor]) -> str | None:
    """Return the first value that is infinite or NaN in the computation of losses and gradients.

    The parameters are searched first; then, for each loss, every result of the forward pass and
    every gradient of the backward pass. A result is named after the layer whose parameters it was
    computed with, or else after the layer before it.

    Parameters
    ----------
    losses : of the model, such as those of the parts of a batch; a generator keeps one graph in
        memory at a time

    Returns
    -------
    A name such as "gradient of the output of blocks.0.attention.query"; None if all are finite
    """
    parameters = model.parameters()
    for name, tensor in parameters.items():
        if not np.isfinite(tensor.value).all():
            return f"parameter {name}"
    # np.errstate would not reach the threads of the kernels
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        for loss in losses:
            labels = _labels(loss, parameters)
            for tensor in inputs_first(loss):
                if not np.isfinite(tensor.value).all():
                    return labels[id(tensor)]
            for tensor, grad in reverse(loss, free=False):
                if not np.isfinite(np.vdot(grad, grad)):  # its norm must not overflow either
                    return f"gradient of {labels[id(tensor)]}"
            del loss, tensor  # and with them the graph
    return None


def _labels(loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[int, str]:
    """Return a name for each Tensor that the loss depends on, by its id."""
    labels = {id(tensor): f"parameter {name}" for name, tensor in parameters.items()}
    layers = {id(tensor): name.rpartition(".")[0] or name for name, tensor in parameters.items()}
    layer = "the input"
    for tensor in inputs_first(loss):
        used = [layers[id(each)] for each in tensor._parents if id(each) in layers]
        layer = used[0] if used else layer
        if not tensor.is_leaf:
            labels[id(tensor)] = f"the output of {layer}" if used else f"what follows {layer}"
    return labels | {id(loss): "the loss"}
