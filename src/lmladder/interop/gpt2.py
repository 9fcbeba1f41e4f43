"""Hugging Face's folder of a GPT-2: config.json, model.safetensors and tokenizer.json.

The model is that of Radford et al. (2019), as `transformers.GPT2LMHeadModel` implements it. The
weights of its linear layers have the shape of ours, (in, out). One layer computes queries, keys and
values; their matrices are side by side.
"""

import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lmladder.data import Tokenizer
from lmladder.data.reading import read_json
from lmladder.interop import gpt2_tokenizer
from lmladder.interop.architecture import HEAD, build_checkpoint, export_weights, our_weights
from lmladder.interop.files import read_tensors, size_from
from lmladder.models.settings import TransformerSettings
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write, cannot_write
from lmladder.training.checkpoint import Checkpoint

from safetensors.numpy import save as to_safetensors

NAME = "gpt2"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
PREFIX = "transformer."  # of all names except the head's; old files do not have it
MODULES = {
    "wte.weight": "tokens.weight",
    "wpe.weight": "positions.weight",
    "h.{}.ln_1.*": "blocks.{}.attention_norm.*",
    "h.{}.attn.c_attn.*": "blocks.{0}.attention.query.* blocks.{0}.attention.key.* "
    "blocks.{0}.attention.value.*",
    "h.{}.attn.c_proj.*": "blocks.{}.attention.output.*",
    "h.{}.ln_2.*": "blocks.{}.feed_forward_norm.*",
    "h.{}.mlp.c_fc.*": "blocks.{}.feed_forward.up_proj.*",
    "h.{}.mlp.c_proj.*": "blocks.{}.feed_forward.down_proj.*",
    "ln_f.*": "norm.*",
}
MASKS = (".attn.bias", ".attn.masked_bias")  # the causal mask in old files
EPSILON = 1e-5  # of our layer norms
# Settings that config.json can express, and one that only affects initial weights.
OWN = {
    *("n_layer", "n_head", "d_model", "context_length", "activation", "dropout", "tied"),
    *("feed_forward_factor", "init_std", "residual_scaling"),
}
FIXED = {  # the others, whose defaults are those of GPT-2
    each.name: each.default for each in fields(TransformerSettings) if each.name not in OWN
}
SIZES = {
    "n_layer": "n_layer",
    "n_head": "n_head",
    "d_model": "n_embd",
    "context_length": "n_positions",
}
ACTIVATIONS = {  # ours by theirs; if several are the same, the first is written
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
# Settings that change what the model computes, and the only value of each that is supported.
REQUIRED = {
    "model_type": "gpt2",
    "layer_norm_epsilon": EPSILON,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


def read(folder: Path) -> tuple[Checkpoint, list[str]]:
    """Return the model in a folder; float16 and bfloat16 become float32, float64 stays.

    Raises
    ------
    InputError
        If a file is missing, damaged or of another kind of model, or one does not fit the other.
    """
    path, source = folder / CONFIG, folder / WEIGHTS
    config = read_json(path)
    architecture = _architecture(config, path)
    tensors = read_tensors(source, leave_out=MASKS)
    found = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if architecture.tied:
        found.pop(HEAD, None)  # some files have it nevertheless
    weights = our_weights(found, MODULES, architecture.n_layer, architecture.tied, source)
    size = len(weights["tokens.weight"])
    if config.get("vocab_size") != size:
        raise InputError(f"{path}: vocab_size must be {size}, as wte.weight of {source} has it")
    tokenizer, notes = gpt2_tokenizer.read(folder, size, config.get("eos_token_id"))
    return build_checkpoint(architecture, tokenizer, weights, source), notes


def write(checkpoint: Checkpoint, folder: Path) -> list[str]:
    """Write a folder that `transformers` reads, and that must not exist or be empty before.

    The folder appears when it is complete. Raises InputError for what GPT-2 does not have.
    """
    architecture, tokenizer, weights = export_weights(NAME, checkpoint, FIXED, MODULES)
    tokenizer_files, notes = gpt2_tokenizer.written(tokenizer, architecture.context_length)
    tensors = {name if name == HEAD else PREFIX + name: array for name, array in weights.items()}
    files = {WEIGHTS: to_safetensors(tensors, metadata={"format": "pt"})}
    for name, value in {**tokenizer_files, CONFIG: _config(architecture, tokenizer)}.items():
        files[name] = (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
    _write_folder(folder, files)
    return notes


def _architecture(config: Mapping[str, Any], path: Path) -> TransformerSettings:
    """Return the architecture in config.json; InputError if it is not supported."""
    for key, value in REQUIRED.items():
        if config.get(key, value) != value:
            raise InputError(f"{path}: {key}={reprlib.repr(config[key])} is read only as {value}")
    activation = config.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InputError(
            f"{path}: activation_function must be one of {', '.join(ACTIVATIONS)}, "
            f"got {reprlib.repr(activation)}"
        )
    sizes: dict[str, Any] = {
        ours: size_from(config, theirs, path) for ours, theirs in SIZES.items()
    }
    width = 4 * sizes["d_model"]
    if config.get("n_inner") is not None:
        width = size_from(config, "n_inner", path)
    return TransformerSettings(
        **sizes,
        activation=ACTIVATIONS[activation],
        dropout=_fraction(config, "resid_pdrop", 0.1, path),
        feed_forward_factor=width / sizes["d_model"],
        tied=config.get("tie_word_embeddings") is not False,
        init_std=_fraction(config, "initializer_range", 0.02, path),
    )


def _fraction(config: Mapping[str, Any], key: str, default: float, path: Path) -> float:
    value = config.get(key, default)
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise InputError(f"{path}: {key} must be at least 0 and less than 1")
    return float(value)


def _config(architecture: TransformerSettings, tokenizer: Tokenizer) -> dict[str, Any]:
    width = architecture.feed_forward_size
    theirs = {ours: name for name, ours in reversed(ACTIVATIONS.items())}
    return {
        "architectures": ["GPT2LMHeadModel"],
        **REQUIRED,
        "vocab_size": tokenizer.vocabulary_size,
        **{theirs: getattr(architecture, ours) for ours, theirs in SIZES.items()},
        "n_inner": None if width == 4 * architecture.d_model else width,
        "activation_function": theirs[architecture.activation],
        "embd_pdrop": architecture.dropout,
        "resid_pdrop": architecture.dropout,
        "attn_pdrop": 0.0,
        "initializer_range": architecture.init_std,
        "tie_word_embeddings": architecture.tied,
        "bos_token_id": tokenizer.eos,
        "eos_token_id": tokenizer.eos,
    }


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Create a folder of these files atomically: it appears under its name when it is complete."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is not an empty folder")
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as side:
            complete = Path(side) / "complete"
            complete.mkdir()
            for name, data in files.items():
                atomic_write(complete / name, data)
            os.replace(complete, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
