"""The JSON of TinyLM, a program in Go: {"d_model", "n_layers", "n_heads", "vocab", "weights"}.

`vocab` is the list of words, and `weights` nested lists by name, in float64. The model is GPT-2's
but for a head of its own and attention without biases. TinyLM splits text at white space and ends
a continuation at the word END.
"""

import json
import reprlib
from pathlib import Path
from typing import Any

from lmladder.arrays import FloatArray
from lmladder.atomic import atomic_write
from lmladder.checkpoint import Checkpoint
from lmladder.config import TransformerArchitecture
from lmladder.errors import InputError
from lmladder.interop.architecture import imported, require_settings, require_transformer
from lmladder.interop.files import (
    read_json,
    require_float32_range,
    require_layers,
    require_names,
    size_from,
)
from lmladder.models.transformer import feed_forward_width
from lmladder.text import WhitespaceTokenizer

import numpy as np

NAME = "tiny-lm"
END = "END"
FIXED: dict[str, Any] = {
    "activation": "gelu_tanh",
    "gated": False,
    "norm": "layernorm",
    "norm_weights": True,
    "embedding_norm": False,
    "final_norm": True,
    "qk_norm": False,
    "positions": "learned",
    "bias": True,
    "attention_bias": False,
    "tied": False,
}
KEYS = ("d_model", "n_layers", "n_heads", "vocab", "weights")


def read(path: Path) -> tuple[Checkpoint, list[str]]:
    """The model in a file of weights, its numbers as they are.

    Raises
    ------
    InputError
        If the file is not TinyLM's, or a weight is missing, too many, not rectangular, not of the
        right shape, or not of finite numbers.
    """
    fields = read_json(path)
    require_names(fields, KEYS, path)
    d_model, n_layer, n_head = (size_from(fields, key, path) for key in KEYS[:3])
    vocabulary, weights = fields["vocab"], fields["weights"]
    if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
        raise InputError(f"{path}: vocab must be a list of strings")
    if not isinstance(weights, dict):
        raise InputError(f"{path}: weights must be an object")
    end = vocabulary.index(END) if END in vocabulary else None
    tokenizer = WhitespaceTokenizer(vocabulary, end)
    width = _length(weights, "blocks.0.ff.linear1.bias", path)
    architecture = TransformerArchitecture(
        n_layer=n_layer,
        n_head=n_head,
        d_model=d_model,
        context_length=_length(weights, "pos_embed.weight", path),
        dropout=0.0,
        feed_forward_factor=width / d_model,
        **FIXED,
    )
    require_layers(n_layer, weights, path)
    layout = _layout(architecture, tokenizer.vocabulary_size)
    require_names(weights, layout, path)
    arrays = {
        ours: _array(weights[theirs], shape, f"{path}: {theirs}")
        for theirs, (ours, shape) in layout.items()
    }
    arrays["unembedding.weight"] = arrays["unembedding.weight"].T
    return imported(architecture, tokenizer, arrays), []


def write(checkpoint: Checkpoint, path: Path) -> list[str]:
    """Write a file of weights; InputError for what TinyLM does not have."""
    architecture = require_transformer(NAME, checkpoint)
    require_settings(NAME, architecture, FIXED)
    tokenizer = checkpoint.restore_tokenizer()
    if not isinstance(tokenizer, WhitespaceTokenizer):
        raise InputError(
            f"the format {NAME} has no tokenizer.name={tokenizer.name}, only whitespace, as its "
            "program splits text at white space and knows nothing else"
        )
    arrays = dict(checkpoint.model)
    arrays["unembedding.weight"] = arrays["unembedding.weight"].T
    layout = _layout(architecture, tokenizer.vocabulary_size)
    fields = {
        "d_model": architecture.d_model,
        "n_layers": architecture.n_layer,
        "n_heads": architecture.n_head,
        "vocab": list(tokenizer.words),
        "weights": {theirs: arrays[ours].tolist() for theirs, (ours, _) in layout.items()},
    }
    try:
        text = json.dumps(fields, allow_nan=False)
    except ValueError:
        raise InputError("the checkpoint has numbers that are not finite") from None
    atomic_write(path, text.encode() + b"\n")
    return []


def _layout(
    architecture: TransformerArchitecture, vocabulary_size: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Our name and TinyLM's shape of each of its weights; its head is ours transposed."""
    d_model, width = architecture.d_model, feed_forward_width(architecture)
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        "token_embed.weight": ("tokens.weight", (vocabulary_size, d_model)),
        "pos_embed.weight": ("positions.weight", (architecture.context_length, d_model)),
    }
    for index in range(architecture.n_layer):
        block = f"blocks.{index}"
        for norm, ours in (("norm1", "attention_norm"), ("norm2", "feed_forward_norm")):
            for part in ("weight", "bias"):
                layout[f"{block}.{norm}.{part}"] = (f"{block}.{ours}.{part}", (d_model,))
        for letter, ours in zip("qkvo", ("query", "key", "value", "output"), strict=True):
            layout[f"{block}.attn.W_{letter}.weight"] = (
                f"{block}.attention.{ours}.weight",
                (d_model, d_model),
            )
        for linear, ours, shape in (
            ("linear1", "expand", (d_model, width)),
            ("linear2", "contract", (width, d_model)),
        ):
            name = f"{block}.feed_forward.{ours}"
            layout[f"{block}.ff.{linear}.weight"] = (f"{name}.weight", shape)
            layout[f"{block}.ff.{linear}.bias"] = (f"{name}.bias", shape[1:])
    return layout | {
        "ln_f.weight": ("norm.weight", (d_model,)),
        "ln_f.bias": ("norm.bias", (d_model,)),
        "lm_head.weight": ("unembedding.weight", (vocabulary_size, d_model)),
    }


def _length(weights: dict[str, Any], name: str, path: Path) -> int:
    """Of the list `name`, which must be there."""
    if name not in weights:
        raise InputError(f"{path} has no {name}")
    if not isinstance(weights[name], list) or not weights[name]:
        raise InputError(f"{path}: {name} must be a list, not {reprlib.repr(weights[name])}")
    return len(weights[name])


def _array(values: object, shape: tuple[int, ...], name: str) -> FloatArray:
    """Nested lists as an array, if they are of this shape and hold finite numbers."""
    rows = [values] if len(shape) == 1 else values
    n_rows = 1 if len(shape) == 1 else shape[0]
    if not isinstance(rows, list) or len(rows) != n_rows:
        raise InputError(f"{name} must be of shape {shape}")
    for row in rows:
        if not isinstance(row, list) or len(row) != shape[-1]:
            raise InputError(f"{name} must be of shape {shape}")
        if wrong := [value for value in row if type(value) not in (int, float)]:
            raise InputError(f"{name} holds {reprlib.repr(wrong[0])}, which is no number")
    try:
        array = np.array(values, np.float64)
    except OverflowError:  # a whole number of hundreds of digits
        array = np.array([np.inf])
    require_float32_range(array, name)
    return array
