"""The JSON of TinyLM, a program in Go: {"d_model", "n_layers", "n_heads", "vocab", "weights"}.

`vocab` is the list of words, and `weights` nested lists by name. The model is GPT-2's, with a
separate head and attention without biases. TinyLM splits text at white space and ends a
continuation at the word END.
"""

from pathlib import Path

from lmladder.data import WhitespaceTokenizer
from lmladder.data.reading import read_json
from lmladder.interop.gpt2 import FIXED, import_weights, shape_of
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint

import numpy as np

END = "END"
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


def read(path: Path) -> Checkpoint:
    """Return the model in a file of weights.

    Raises
    ------
    InputError
        If the file is not TinyLM's, or its weights are not those of the model it describes.
    """
    fields = read_json(path)
    words, weights = fields.get("vocab"), fields.get("weights")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{path}: vocab must be a list of strings")
    if not isinstance(weights, dict):
        raise InputError(f"{path}: weights must be an object")
    theirs = {}
    for name, values in weights.items():
        try:
            theirs[name] = np.array(values, np.float64)
        except (ValueError, TypeError, OverflowError):
            raise InputError(f"{path}: {name} must be rectangular lists of numbers") from None
    lengths = {name: len(np.atleast_1d(each)) for name, each in theirs.items()}
    given = {
        "n_layer": fields.get("n_layers"),
        "n_head": fields.get("n_heads"),
        "d_model": fields.get("d_model"),
        "context_length": lengths.get("pos_embed.weight", 1),
        **{"activation": "gelu_tanh", "dropout": 0.0, "attention_bias": False, "tied": False},
        "init_std": 0.02,
    }
    architecture = shape_of({**FIXED, **given}, path)
    hidden = lengths.get("blocks.0.ff.linear1.bias", 1)
    factor = {"feed_forward_factor": hidden / architecture.d_model}
    architecture = architecture.model_copy(update=factor)
    tokenizer = WhitespaceTokenizer(words, words.index(END) if END in words else None)
    return import_weights(architecture, tokenizer, theirs, MODULES, path)
