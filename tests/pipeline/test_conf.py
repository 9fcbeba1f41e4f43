"""conf/ and params.yaml: what is composed, and how mistakes are reported."""

import json
import os
import re
import subprocess
import sys
from contextlib import chdir

from lmladder.config import describe, validated
from lmladder.system.settings import keys_of
from lmladder.config import schema
from lmladder.models.transformer import Transformer
from lmladder.system.streams import stream
from stages.compose import composition
from tests.pipeline.conftest import PROJECT

import pytest
from dvc.utils.hydra import compose_and_dump
from omegaconf import OmegaConf

CONF = PROJECT / "conf"
PRESETS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SHARED = ("optimizer", "schedule", "training")  # groups from which each trained rung chooses
MORE = {  # what an option leaves to the user
    "data=file": ["data.path=data/README.md"],
    "tokenizer=checkpoint": ["tokenizer.path=models/README.md"],
    "transformer=from_checkpoint": ["transformer.init_from=models/README.md"],
}
