"""What the larger commands of `lmladder` do, one module each; `cli.py` tells their options.

Plumbing, as the stages are: open a checkpoint, ask the library, print or write.
"""

from collections.abc import Mapping
from pathlib import Path

from lmladder.checkpoint import Checkpoint
from lmladder.errors import InputError
from lmladder.models import LanguageModel


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`; of one that the pipeline has yet to make, InputError tells how."""
    if path.parts[:1] == ("outputs",) and len(path.parts) == 3 and not path.exists():
        raise InputError(f"there is no {path} yet; train it with: dvc repro")
    return Checkpoint.load(path)


def model_named(name: str, models: Mapping[str, LanguageModel], path: Path) -> LanguageModel:
    """One of the models of the checkpoint at `path`; InputError, with their names, if none is."""
    if name not in models:
        raise InputError(f"no model {name!r} in {path}; choose from {', '.join(models)}")
    return models[name]
