"""Import and export of checkpoints in the formats of other programs, one module for each.

`gpt2.py` reads and writes Hugging Face's folder of GPT-2, and `gpt2_tokenizer.py` its
tokenizer.json; `tiny_lm.py` reads and writes the JSON of TinyLM. `files.py` reads files of unknown
origin. Nothing here unpickles, uses the network, or follows a path in a file. What a format cannot
express is rejected, with the name of the setting.
"""

import re
import shlex
from dataclasses import fields
from pathlib import Path

from lmladder.interop import gpt2, tiny_lm
from lmladder.interop.architecture import shown
from lmladder.training.checkpoint import Checkpoint

# Each has `read`, which returns the checkpoint in a file or folder, and notes to the user about
# differences, and `write`, its inverse, which writes a complete result or none.
FORMATS = {"gpt2": gpt2, "tiny-lm": tiny_lm}


def training_command(checkpoint: Checkpoint, path: Path) -> str:
    """Return the command of a run which continues to train the Transformer in `path`."""
    architecture = checkpoint.settings()
    overrides = {
        "tokenizer": "checkpoint",
        "tokenizer.path": path,
        "transformer": "from_checkpoint",
        "transformer.init_from": path,
    }
    for each in fields(architecture):
        if (value := getattr(architecture, each.name)) != each.default:
            overrides[f"transformer.{each.name}"] = value
    given = [f"{key}={_quoted(shown(value))}" for key, value in overrides.items()]
    return shlex.join(["lmladder", "run", *given])


def _quoted(text: str) -> str:
    """Return the value of an override, in quotes if Hydra requires them."""
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", text):
        return text
    return "'" + text.replace("'", "\\'") + "'"
