"""The JSON of TinyLM, a program in Go: {"d_model", "n_layers", "n_heads", "vocab", "weights"}.

`vocab` is the list of words, and `weights` nested lists by name, in float64. The model is GPT-2's,
with a separate head and attention without biases. TinyLM splits text at white space and ends a
continuation at the word END.
"""

import json
import reprlib
from pathlib import Path
from typing import Any

from lmladder.data import WhitespaceTokenizer
from lmladder.data.reading import read_json
from lmladder.interop import gpt2
from lmladder.interop.architecture import build_checkpoint, export_weights, our_weights
from lmladder.interop.files import require_float32_range, require_names, size_from
from lmladder.models.settings import TransformerSettings
from lmladder.system.arrays import FloatArray
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write
from lmladder.training.checkpoint import Checkpoint

import numpy as np

NAME = "tiny-lm"
END = "END"
OWN: dict[str, Any] = {"activation": "gelu_tanh", "attention_bias": False, "tied": False}
FIXED = gpt2.FIXED | OWN
MODULES = {
    "token_embed.weight": "tokens.weight",
    "pos_embed.weight": "positions.weight",
    "blocks.{}.norm1.*": "blocks.{}.attention_norm.*",
    "blocks.{}.attn.W_q.weight": "blocks.{}.attention.query.weight",
    "blocks.{}.attn.W_k.weight": "blocks.{}.attention.key.weight",
    "blocks.{}.attn.W_v.weight": "blocks.{}.attention.value.weight",
    "blocks.{}.attn.W_o.weight": "blocks.{}.attention.output.weight",
    "blocks.{}.norm2.*": "blocks.{}.feed_forward_norm.*",
    "blocks.{}.ff.linear1.*": "blocks.{}.feed_forward.up_proj.*",
    "blocks.{}.ff.linear2.*": "blocks.{}.feed_forward.down_proj.*",
    "ln_f.*": "norm.*",
}
KEYS = ("d_model", "n_layers", "n_heads", "vocab", "weights")


def read(path: Path) -> tuple[Checkpoint, list[str]]:
    """Return the model in a file of weights, whose values do not change.

    Raises
    ------
    InputError
        If the file is not TinyLM's, or a weight is missing, unknown, not rectangular, not of the
        right shape, or not finite.
    """
    fields = read_json(path)
    require_names(fields, KEYS, path)
    d_model, n_layer, n_head = (size_from(fields, key, path) for key in KEYS[:3])
    vocabulary, weights = fields["vocab"], fields["weights"]
    if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
        raise InputError(f"{path}: vocab must be a list of strings")
    if not isinstance(weights, dict):
        raise InputError(f"{path}: weights must be an object")
    theirs = {name: _array(values, f"{path}: {name}") for name, values in weights.items()}
    arrays = our_weights(theirs, MODULES, n_layer, OWN["tied"], path)
    architecture = TransformerSettings(
        n_layer=n_layer,
        n_head=n_head,
        d_model=d_model,
        context_length=len(arrays["positions.weight"]),
        dropout=0.0,
        feed_forward_factor=len(arrays["blocks.0.feed_forward.up_proj.bias"]) / d_model,
        **OWN,
    )
    end = vocabulary.index(END) if END in vocabulary else None
    return build_checkpoint(architecture, WhitespaceTokenizer(vocabulary, end), arrays, path), []


def write(checkpoint: Checkpoint, path: Path) -> list[str]:
    """Write a file of weights; raise InputError for what TinyLM does not have."""
    architecture, tokenizer, weights = export_weights(NAME, checkpoint, FIXED, MODULES)
    if not isinstance(tokenizer, WhitespaceTokenizer):
        raise InputError(
            f"the format {NAME} does not have tokenizer.name={tokenizer.name}, only whitespace, as "
            "its program splits text at white space"
        )
    fields = {
        "d_model": architecture.d_model,
        "n_layers": architecture.n_layer,
        "n_heads": architecture.n_head,
        "vocab": list(tokenizer.words),
        "weights": {name: array.tolist() for name, array in weights.items()},
    }
    try:
        text = json.dumps(fields, allow_nan=False)
    except ValueError:
        raise InputError("the checkpoint has values that are not finite") from None
    atomic_write(path, text.encode() + b"\n")
    return []


def _array(values: Any, name: str) -> FloatArray:
    """Return nested lists as an array; InputError unless they are rectangular lists of numbers."""
    array = np.array(values if isinstance(values, list) else [values], object)
    wrong = [each for each in array.flat if type(each) not in (int, float)]
    if wrong or not array.size:
        raise InputError(
            f"{name} must be rectangular lists of numbers, got {reprlib.repr((wrong or [[]])[0])}"
        )
    try:
        array = array.astype(np.float64)
    except OverflowError:  # a whole number of hundreds of digits
        array = np.array([np.inf])
    require_float32_range(array, name)
    return array
