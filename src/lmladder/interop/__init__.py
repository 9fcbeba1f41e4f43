"""Checkpoints from and to other programs: one table of formats, a file for each.

`gpt2.py` knows Hugging Face's folder of GPT-2 and `gpt2_tokenizer.py` its tokenizer.json;
`tiny_lm.py` knows the JSON of TinyLM. `files.py` reads what strangers wrote, with care; nothing
here unpickles, asks the network, or follows a path that stands in a file. What a format cannot
express is refused, with the name of the setting.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from lmladder.checkpoint import Checkpoint
from lmladder.errors import InputError
from lmladder.interop import gpt2, tiny_lm


@dataclass(frozen=True)
class Format:
    """How another program keeps a model.

    Attributes
    ----------
    read : a checkpoint from a file or folder, and notes to the user on what is not quite the same
    write : the inverse, to a path that a whole result takes or nothing; the notes
    """

    read: Callable[[Path], tuple[Checkpoint, list[str]]]
    write: Callable[[Checkpoint, Path], list[str]]


FORMATS = {
    "gpt2": Format(gpt2.read, gpt2.write),
    "tiny-lm": Format(tiny_lm.read, tiny_lm.write),
}


def format_named(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]


def training_command(checkpoint: Checkpoint, path: Path) -> str:
    """What to type so that the pipeline trains on from the Transformer that `path` holds."""
    architecture = checkpoint.architecture()
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
    """A value of an override, in quotes where Hydra wants them."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", text):
        return text
    quoted = text.replace("'", "\\'")
    return f"'{quoted}'"
