"""Checkpoints from and to other programs: one table of formats, a file for each.

`gpt2.py` knows Hugging Face's folder of GPT-2 and `gpt2_tokenizer.py` its tokenizer.json;
`tiny_lm.py` knows the JSON of TinyLM. `files.py` reads what strangers wrote, with care; nothing
here unpickles, uses the network, or follows a path in a file. What a format cannot express is
rejected, with the name of the setting.
"""

import re
import shlex
from dataclasses import fields
from pathlib import Path
from types import ModuleType

from lmladder.interop import gpt2, tiny_lm
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint

# Each has `read`, which returns the checkpoint made of a file or folder and notes to the user on
# what is not quite the same, and `write`, its inverse, which leaves a whole result or none.
FORMATS = {"gpt2": gpt2, "tiny-lm": tiny_lm}


def format_named(name: str) -> ModuleType:
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]


def training_command(checkpoint: Checkpoint, path: Path) -> str:
    """Return the command that composes a run which trains on from the Transformer in `path`."""
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
    given = [f"{key}={_written(value)}" for key, value in overrides.items()]
    return shlex.join(["python", "stages/compose.py", *given])


def _written(value: object) -> str:
    """Return a value of an override, in quotes if Hydra needs them."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", text):
        return text
    quoted = text.replace("'", "\\'")
    return f"'{quoted}'"
