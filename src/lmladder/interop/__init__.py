"""Models of other programs: Hugging Face's GPT-2 both ways, and TinyLM's JSON in.

Nothing here unpickles, uses the network, or follows a path in a file. What a format cannot express
is rejected, with the name of the setting.
"""

from lmladder.system.extras import require

require(__name__, "tokenizers")

import shlex
from pathlib import Path

from lmladder.interop import gpt2, tiny_lm
from lmladder.models.kind import model_settings
from lmladder.training.checkpoint import Checkpoint


def read_model(source: Path) -> Checkpoint:
    """Return the model in a folder (GPT-2) or a file (TinyLM)."""
    return gpt2.read(source) if source.is_dir() else tiny_lm.read(source)


def training_command(checkpoint: Checkpoint, path: Path) -> str:
    """Return the command of a run which continues to train the Transformer in `path`."""
    overrides = ["tokenizer=checkpoint", f"tokenizer.path={path}"]
    overrides += ["transformer=from_checkpoint", f"transformer.init_from={path}"]
    for name, value in model_settings(checkpoint).model_dump().items():
        if value != gpt2.FIXED.get(name):
            overrides.append(f"transformer.{name}={str(value).lower()}")
    return shlex.join(["lmladder", "run", *overrides])
