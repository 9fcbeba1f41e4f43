"""Hugging Face's folder of a GPT-2: config.json, model.safetensors and tokenizer.json.

The model is that of Radford et al. (2019) as `transformers.GPT2LMHeadModel` has it. Its linear
layers keep weights as ours do, (in, out); queries, keys and values come from one, side by side.
"""

import json
import os
import reprlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lmladder.arrays import Array
from lmladder.atomic import SIDE_SUFFIX, atomic_write, cannot_write
from lmladder.checkpoint import Checkpoint
from lmladder.config import TransformerArchitecture
from lmladder.errors import InputError
from lmladder.interop import gpt2_tokenizer
from lmladder.interop.architecture import imported, require_settings, require_transformer
from lmladder.interop.files import (
    StoredTensors,
    read_json,
    require_layers,
    require_names,
    size_from,
)
from lmladder.models.transformer import feed_forward_width

import numpy as np
from safetensors.numpy import save as to_safetensors

NAME = "gpt2"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
PREFIX = "transformer."  # of all names but the head's; old files lack it
HEAD = "lm_head.weight"
MASKS = (".attn.bias", ".attn.masked_bias")  # what old files keep of the causal mask
EPSILON = 1e-5  # of our layer norms
FIXED: dict[str, Any] = {
    "gated": False,
    "norm": "layernorm",
    "norm_weights": True,
    "embedding_norm": False,
    "final_norm": True,
    "qk_norm": False,
    "positions": "learned",
    "bias": True,
    "attention_bias": True,
}
ACTIVATIONS = {  # ours by theirs; of several for one of ours, the first is written
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "relu2": "relu_squared",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "swish": "silu",
}
# Settings that change what the model computes, and the one value of each that ours has.
REQUIRED = {
    "model_type": "gpt2",
    "layer_norm_epsilon": EPSILON,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


class Origin(NamedTuple):
    """Of a weight of theirs: which of ours stand in it side by side, and its shape."""

    ours: tuple[str, ...]
    shape: tuple[int, ...]


def read(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The model in a folder; float16 and bfloat16 become float32, float64 stays.

    Raises
    ------
    InputError
        If a file is missing, damaged or of another kind of model, or one does not fit the other.
    """
    path = folder / CONFIG
    config = read_json(path)
    architecture = _architecture(config, path)
    vocabulary_size = size_from(config, "vocab_size", path)
    tensors = StoredTensors(_weights_file(folder))
    names = _names(tensors, architecture)
    layout = _layout(architecture, vocabulary_size)
    _require_shapes(tensors, names, layout, tied=architecture.tied)
    tokenizer, notes = gpt2_tokenizer.read(folder, vocabulary_size, config.get("eos_token_id"))
    arrays: dict[str, Array] = {}
    for name, origin in layout.items():
        parts = np.split(tensors.read(names[name]), len(origin.ours), axis=-1)
        arrays |= dict(zip(origin.ours, parts, strict=True))
    if HEAD in names:
        head = tensors.read(names[HEAD])
        if not architecture.tied:
            arrays["unembedding.weight"] = head.T
        elif not np.array_equal(head, arrays["tokens.weight"]):
            raise InputError(
                f"{tensors.path}: {HEAD} is not wte.weight, though {path} says tie_word_embeddings"
            )
    return imported(architecture, tokenizer, arrays), notes


def write(checkpoint: Checkpoint, folder: Path) -> list[str]:
    """Write a folder that `transformers` reads; it must not be there, or be empty.

    The folder appears when it is whole. InputError for what GPT-2 does not have.
    """
    architecture = require_transformer(NAME, checkpoint)
    require_settings(NAME, architecture, FIXED)
    tokenizer = checkpoint.restore_tokenizer()
    tokenizer_files, notes = gpt2_tokenizer.written(tokenizer, architecture.context_length)
    held = checkpoint.model
    weights = {
        PREFIX + name: np.concatenate([held[ours] for ours in origin.ours], axis=-1)
        for name, origin in _layout(architecture, tokenizer.vocabulary_size).items()
    }
    if not architecture.tied:
        weights[HEAD] = np.ascontiguousarray(held["unembedding.weight"].T)
    config = _config(architecture, tokenizer.vocabulary_size, tokenizer.boundary)
    files = {
        WEIGHTS: to_safetensors(weights, metadata={"format": "pt"}),
        **{name: _json(value) for name, value in {**tokenizer_files, CONFIG: config}.items()},
    }
    _write_folder(folder, files)
    return notes


def _layout(architecture: TransformerArchitecture, vocabulary_size: int) -> dict[str, Origin]:
    """Origins of all weights but the head, by name without prefix."""
    d, width = architecture.d_model, feed_forward_width(architecture)
    layout = {
        "wte.weight": Origin(("tokens.weight",), (vocabulary_size, d)),
        "wpe.weight": Origin(("positions.weight",), (architecture.context_length, d)),
    }
    layers: list[tuple[str, tuple[str, ...], tuple[int, ...]]] = [("ln_f", ("norm",), (d,))]
    for index in range(architecture.n_layer):
        theirs, ours = f"h.{index}", f"blocks.{index}"
        attention, feed_forward = f"{ours}.attention", f"{ours}.feed_forward"
        three = (f"{attention}.query", f"{attention}.key", f"{attention}.value")
        layers += [
            (f"{theirs}.ln_1", (f"{ours}.attention_norm",), (d,)),
            (f"{theirs}.attn.c_attn", three, (d, 3 * d)),
            (f"{theirs}.attn.c_proj", (f"{attention}.output",), (d, d)),
            (f"{theirs}.ln_2", (f"{ours}.feed_forward_norm",), (d,)),
            (f"{theirs}.mlp.c_fc", (f"{feed_forward}.expand",), (d, width)),
            (f"{theirs}.mlp.c_proj", (f"{feed_forward}.contract",), (width, d)),
        ]
    for name, modules, shape in layers:
        for part, part_shape in (("weight", shape), ("bias", shape[-1:])):
            ours_of_part = tuple(f"{module}.{part}" for module in modules)
            layout[f"{name}.{part}"] = Origin(ours_of_part, part_shape)
    return layout


def _architecture(config: Mapping[str, Any], path: Path) -> TransformerArchitecture:
    """What config.json describes; InputError if that is another model, or one that ours is not."""
    for key, value in REQUIRED.items():
        if config.get(key, value) != value:
            raise InputError(f"{path}: {key}={reprlib.repr(config[key])} is read only as {value}")
    activation = config.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InputError(
            f"{path}: activation_function must be one of {', '.join(ACTIVATIONS)}, "
            f"not {reprlib.repr(activation)}"
        )
    tied = config.get("tie_word_embeddings", True)
    if not isinstance(tied, bool):
        raise InputError(f"{path}: tie_word_embeddings must be true or false")
    d_model = size_from(config, "n_embd", path)
    whole = config.get("n_inner") is not None
    width = size_from(config, "n_inner", path) if whole else 4 * d_model
    return TransformerArchitecture(
        n_layer=size_from(config, "n_layer", path),
        n_head=size_from(config, "n_head", path),
        d_model=d_model,
        context_length=size_from(config, "n_positions", path),
        activation=ACTIVATIONS[activation],
        dropout=_fraction(config, "resid_pdrop", 0.1, path),
        feed_forward_factor=width / d_model,
        tied=tied,
        init_deviation=_fraction(config, "initializer_range", 0.02, path),
        **FIXED,
    )


def _fraction(config: Mapping[str, Any], key: str, default: float, path: Path) -> float:
    value = config.get(key, default)
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise InputError(f"{path}: {key} must be at least 0 and less than 1")
    return float(value)


def _config(
    architecture: TransformerArchitecture, vocabulary_size: int, boundary: int | None
) -> dict[str, Any]:
    width = feed_forward_width(architecture)
    theirs = {ours: name for name, ours in reversed(ACTIVATIONS.items())}
    return {
        "architectures": ["GPT2LMHeadModel"],
        **REQUIRED,
        "vocab_size": vocabulary_size,
        "n_positions": architecture.context_length,
        "n_embd": architecture.d_model,
        "n_layer": architecture.n_layer,
        "n_head": architecture.n_head,
        "n_inner": None if width == 4 * architecture.d_model else width,
        "activation_function": theirs[architecture.activation],
        "embd_pdrop": architecture.dropout,
        "resid_pdrop": architecture.dropout,
        "attn_pdrop": 0.0,
        "initializer_range": architecture.init_deviation,
        "tie_word_embeddings": architecture.tied,
        "bos_token_id": boundary,
        "eos_token_id": boundary,
    }


def _weights_file(folder: Path) -> Path:
    path = folder / WEIGHTS
    if path.exists():
        return path
    if (folder / f"{WEIGHTS}.index.json").exists():
        raise InputError(f"{folder} has its weights in several files; only one {WEIGHTS} is read")
    for pickled in ("pytorch_model.bin", "pytorch_model.bin.index.json"):
        if (folder / pickled).exists():
            raise InputError(
                f"{folder / pickled} is a pickle, which could run any program when it is read; "
                f"save the model as {WEIGHTS}"
            )
    raise InputError(f"there is no file {path}")


def _names(tensors: StoredTensors, architecture: TransformerArchitecture) -> dict[str, str]:
    """The name in the file of each tensor, by name without prefix; without causal masks."""
    names: dict[str, str] = {}
    for stored in tensors.shapes:
        name = stored.removeprefix(PREFIX)
        if name in names:
            raise InputError(f"{tensors.path} has {name} with and without {PREFIX}")
        if not name.endswith(MASKS):
            names[name] = stored
    require_layers(architecture.n_layer, names, tensors.path)
    return names


def _require_shapes(
    tensors: StoredTensors,
    names: Mapping[str, str],
    layout: Mapping[str, Origin],
    *,
    tied: bool,
) -> None:
    """InputError unless names and shapes are those of the layout; a tied head may be there too."""
    shapes = {name: origin.shape for name, origin in layout.items()}
    if not tied or HEAD in names:
        shapes[HEAD] = shapes["wte.weight"]
    require_names(names, shapes, tensors.path)
    for name, stored in names.items():
        if tensors.shapes[stored] != shapes[name]:
            raise InputError(
                f"{tensors.path}: {stored} has shape {tensors.shapes[stored]}; "
                f"{CONFIG} tells of {shapes[name]}"
            )


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder of these files, or nothing: it gets its name when all is in it."""
    side = folder.with_name(f".{folder.name}.{os.getpid()}{SIDE_SUFFIX}")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} is there already, and is no empty folder")
        side.mkdir()
        try:
            for name, data in files.items():
                atomic_write(side / name, data)
            os.replace(side, folder)
        except BaseException:
            shutil.rmtree(side, ignore_errors=True)
            raise
    except OSError as error:
        raise cannot_write(folder, error) from error
