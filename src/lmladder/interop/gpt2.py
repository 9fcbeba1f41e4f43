"""Hugging Face's folder of a GPT-2: config.json, model.safetensors and tokenizer.json.

The model is that of Radford et al. (2019), as `transformers.GPT2LMHeadModel` implements it. The
weights of its linear layers have the shape of ours, (in, out). One layer computes queries, keys and
values; their matrices are side by side.
"""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmladder.data import Tokenizer
from lmladder.data.reading import read_json
from lmladder.interop import gpt2_tokenizer
from lmladder.models import restore_models
from lmladder.models.kind import model_settings
from lmladder.models.transformer import TransformerSettings
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write, make_folder
from lmladder.system.settings import validate
from lmladder.training.checkpoint import Checkpoint

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_safetensors

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PREFIX = "transformer."  # of all names except the head's; old files do not have it
HEAD, OUR_HEAD = "lm_head.weight", "unembedding.weight"  # (out, in) there, (in, out) here
MASKS = (".attn.bias", ".attn.masked_bias")  # the causal mask in old files
MODULES = {  # see `weight_names`
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
# Settings by their names in config.json, with the value of a file that lacks one.
SETTINGS: dict[str, tuple[str, Any]] = {
    "n_layer": ("n_layer", None),
    "n_head": ("n_head", None),
    "d_model": ("n_embd", None),
    "context_length": ("n_positions", None),
    "activation": ("activation_function", "gelu_new"),
    "dropout": ("resid_pdrop", 0.1),
    "init_std": ("initializer_range", 0.02),
    "tied": ("tie_word_embeddings", True),
}
# The settings that every GPT-2 has.
FIXED = {
    "feed_forward_factor": 4.0,
    "norm": "layernorm",
    "norm_weights": True,
    "embedding_norm": False,
    "final_norm": True,
    "qk_norm": False,
    "gated_attention": False,
    "window": 0,
    "last_window": 0,
    "positions": "learned",
    "convolution": 0,
    "bigram_embeddings": False,
    "trigram_embeddings": 0,
    "pointer": 0,
    "bias": True,
    "attention_bias": True,
    "residual_scaling": True,
}
ACTIVATIONS = {"gelu_tanh": "gelu_new", "relu_squared": "relu2"}  # theirs by ours, if they differ
FREE = ("feed_forward_factor", "residual_scaling")  # the first is n_inner, the second not stored
# Settings that change what the model computes, and the only value of each that is supported.
REQUIRED = {
    "model_type": "gpt2",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


def read(folder: Path) -> Checkpoint:
    """Return the model in a folder.

    Raises
    ------
    InputError
        If a file is missing, damaged or of another kind of model, or one does not fit the other.
    """
    config, source = read_json(folder / CONFIG), folder / WEIGHTS
    architecture = _architecture(config, folder / CONFIG)
    try:
        stored = load_file(source)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"cannot read {source} with NumPy: {error}") from None
    tensors = {k.removeprefix(PREFIX): each for k, each in stored.items() if not k.endswith(MASKS)}
    if architecture.tied:
        tensors.pop(HEAD, None)  # some files have it nevertheless
    size = len(np.atleast_1d(tensors.get("wte.weight", 0)))
    tokenizer = gpt2_tokenizer.read(folder, size, config.get("eos_token_id"))
    return import_weights(architecture, tokenizer, tensors, MODULES, source)


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a folder that `transformers` reads; InputError for what GPT-2 does not have.

    config.json, without which nothing reads it, is written last.
    """
    if checkpoint.kind != "transformer":
        raise InputError(f"GPT-2 is a Transformer, not a model of kind {checkpoint.kind!r}")
    restore_models(checkpoint)  # raises InputError if the arrays do not fit the architecture
    architecture: Any = model_settings(checkpoint)
    for key, value in FIXED.items():
        if key not in FREE and getattr(architecture, key) != value:
            raise InputError(
                f"GPT-2 does not have transformer.{key}={getattr(architecture, key)}, only {value}"
            )
    tokenizer = checkpoint.restore_tokenizer()
    weights = dict(checkpoint.model)
    if not architecture.tied:
        weights[OUR_HEAD] = weights[OUR_HEAD].T
    tensors = {}
    for name, ours in weight_names(MODULES, architecture).items():
        array = np.concatenate([weights[each] for each in ours], axis=-1)
        tensors[name if name == HEAD else PREFIX + name] = np.ascontiguousarray(array)
    files = gpt2_tokenizer.written(tokenizer, architecture.context_length)
    make_folder(folder)
    atomic_write(folder / WEIGHTS, to_safetensors(tensors, metadata={"format": "pt"}))
    for name, value in {**files, CONFIG: _config(architecture, tokenizer)}.items():
        atomic_write(folder / name, (json.dumps(value, indent=2) + "\n").encode())


def _architecture(config: Mapping[str, Any], path: Path) -> TransformerSettings:
    """Return the architecture in config.json; InputError if it is not supported."""
    for key, value in REQUIRED.items():
        if config.get(key, value) != value:
            raise InputError(f"{path}: {key}={config[key]!r} is read only as {value}")
    given = {ours: config.get(theirs, default) for ours, (theirs, default) in SETTINGS.items()}
    ours = {theirs: name for name, theirs in ACTIVATIONS.items()}
    given["activation"] = ours.get(given["activation"], given["activation"])
    architecture = validate(TransformerSettings, {**FIXED, **given}, str(path))
    width = config.get("n_inner") or 4 * architecture.d_model
    return architecture.model_copy(update={"feed_forward_factor": width / architecture.d_model})


def _config(architecture: TransformerSettings, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return config.json."""
    width, settings = architecture.feed_forward_size, architecture.model_dump()
    settings["activation"] = ACTIVATIONS.get(architecture.activation, architecture.activation)
    return {
        "architectures": ["GPT2LMHeadModel"],
        **REQUIRED,
        "vocab_size": tokenizer.vocabulary_size,
        **{theirs: settings[ours] for ours, (theirs, _) in SETTINGS.items()},
        "n_inner": None if width == 4 * architecture.d_model else width,
        **{"embd_pdrop": architecture.dropout, "attn_pdrop": 0.0},
        **dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos),
    }


def weight_names(
    modules: Mapping[str, str], architecture: TransformerSettings
) -> dict[str, list[str]]:
    """Return, for each of their weights, our weights that it consists of, side by side.

    Parameters
    ----------
    modules : ours by theirs, with spaces between several of ours; {} is the number of a block, and
        * is "weight" and "bias"
    """
    names = {} if architecture.tied else {HEAD: [OUR_HEAD]}
    for theirs, ours in modules.items():
        for index in range(architecture.n_layer if "{}" in theirs else 1):
            for part in ("weight", "bias")[: 1 + ("*" in theirs)]:
                name, *parts = (
                    each.format(index).replace("*", part) for each in (theirs, *ours.split())
                )
                names[name] = parts
    return names


def import_weights(
    architecture: TransformerSettings,
    tokenizer: Tokenizer,
    weights: Mapping[str, Array],
    modules: Mapping[str, str],
    source: Path,
) -> Checkpoint:
    """Return the checkpoint of a model with weights by their names, in float32, without seed.

    Raises
    ------
    InputError
        If a weight is missing, unknown, not finite, or does not fit the architecture.
    """
    if architecture.n_layer > len(weights):  # before a loop over what may be a huge number
        raise InputError(f"{source} has {len(weights)} weights, too few for its layers")
    names, ours = weight_names(modules, architecture), dict[str, Array]()
    for name in sorted(names.keys() ^ weights.keys()):
        has = "has" if name in weights else "does not have"
        raise InputError(f"{source} {has} {reprlib.repr(name)}, unlike the model that it describes")
    for name, parts in names.items():
        with np.errstate(over="ignore"):
            array = np.atleast_1d(np.asarray(weights[name], np.float32))
        if not np.isfinite(array).all():
            raise InputError(f"{source}: {name} must have finite values in float32")
        split = np.array_split(array.T if name == HEAD else array, len(parts), axis=-1)
        ours |= zip(parts, map(np.ascontiguousarray, split), strict=True)
    kind, config, described = "transformer", architecture.model_dump(), tokenizer.to_json()
    size = tokenizer.vocabulary_size
    checkpoint = Checkpoint(kind, kind, config, 0, size, described, "", model=ours)
    restore_models(checkpoint)  # raises InputError if the arrays do not fit the architecture
    return checkpoint
