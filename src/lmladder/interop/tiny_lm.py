"""The JSON of TinyLM, a program in Go: {"d_model", "n_layers", "n_heads", "vocab", "weights"}.

`vocab` is the list of words, and `weights` nested lists by name. The model is GPT-2's, with a
separate head and attention without biases. TinyLM splits text at white space and ends a
continuation at the word END.
"""

from pathlib import Path

from lmladder.data import WhitespaceTokenizer
from lmladder.data.reading import read_json
from lmladder.interop.gpt2 import FIXED, import_weights
from lmladder.models.transformer import TransformerSettings
from lmladder.system.errors import InputError
from lmladder.system.settings import validate
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
    try:
        words, weights = fields["vocab"], fields["weights"]
        theirs = {name: np.array(values, np.float64) for name, values in weights.items()}
        given = {
            "n_layer": fields["n_layers"],
            "n_head": fields["n_heads"],
            "d_model": fields["d_model"],
            "context_length": len(theirs["pos_embed.weight"]),
            **{"activation": "gelu_tanh", "dropout": 0.0, "attention_bias": False, "tied": False},
            **{"init_std": 0.02},
            "feed_forward_factor": len(theirs["blocks.0.ff.linear1.bias"]) / fields["d_model"],
        }
        tokenizer = WhitespaceTokenizer(words, words.index(END) if END in words else None)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a file of TinyLM: {error!r}") from None
    architecture = validate(TransformerSettings, {**FIXED, **given}, str(path))
    return import_weights(architecture, tokenizer, theirs, MODULES, path)
