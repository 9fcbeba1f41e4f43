"""Small training runs, for the tests of training and of what resumes or repeats a run."""

from pathlib import Path
from typing import Any

from lmladder.interop.gpt2 import FIXED
from lmladder.models import KINDS, rung_settings
from lmladder.optim import AdamSettings, AdamWSettings, MuonSettings, SgdSettings
from lmladder.optim.schedules import Cosine, Wsd
from lmladder.system.arrays import IntArray
from lmladder.system.streams import stream
from lmladder.training.checkpoint import BEST, LATEST, Checkpoint
from lmladder.training.loop import HISTORY, TrainingRun, train
from lmladder.training.settings import TrainingSettings

import numpy as np
import pytest

CHARACTERS = " abcdeh"
VOCABULARY = len(CHARACTERS)
STEPS = 6


def tokens(text: str) -> IntArray:
    return np.array([CHARACTERS.index(character) for character in text], np.uint8)


TRAIN = tokens("a bad head had a bed " * 20)
VAL = tokens("a head had a bad bed " * 6)

AVERAGES: Any = {"learning_rate": 0.02, "betas": [0.9, 0.95], "epsilon": 1e-8}
ADAMW = AdamWSettings(name="adamw", **AVERAGES, weight_decay=0.1)
MUON = MuonSettings(
    name="muon",
    **(AVERAGES | {"learning_rate": 0.01}),
    weight_decay=0.1,
    matrix_learning_rate=0.02,
    momentum=0.9,
)
SGD = SgdSettings(name="sgd", learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
SCHEDULE = Cosine(name="cosine", warmup_steps=2, final_fraction=0.1)
TRAINING = TrainingSettings(
    steps=STEPS,
    batch_size=4,
    gradient_accumulation_steps=1,
    sequence_length=6,
    clip_norm=1.0,
    evaluate_every=2,
    evaluate_tokens=60,
    monitor_every=None,
    patience=None,
    min_improvement=0.0,
)
COMMON: Any = {"schedule": SCHEDULE, "training": TRAINING, "seed": None, "init_from": None}
RUNGS: dict[str, Any] = {
    "mlp": rung_settings("mlp")(
        kind="mlp",
        optimizer=ADAMW,
        **COMMON,
        context_length=3,
        embedding_size=4,
        hidden_sizes=[16],
        activation="tanh",
    ),
    "transformer": rung_settings("transformer")(
        kind="transformer",
        optimizer=MUON,
        **COMMON,
        **(FIXED | {"n_layer": 1, "n_head": 2, "d_model": 8, "context_length": 6}),
        activation="gelu_tanh",
        dropout=0.1,
        tied=True,
        init_std=0.02,
    ),
}
TRAINED_BY = {"code": "code", "kernels": "numba", "numpy": "2.2.6", "numba": "0.61.2"}
every_rung = pytest.mark.parametrize("kind", RUNGS)
FEATURES: dict[str, dict[str, Any]] = {
    "default": {},
    "adam": {"optimizer": AdamSettings(name="adam", **AVERAGES)},
    "sgd": {"optimizer": SGD},
    "wsd": {"schedule": Wsd(name="wsd", warmup_steps=2, final_fraction=0.1, decay_fraction=0.5)},
    "accumulation": {"gradient_accumulation_steps": 2},
    "monitoring": {"monitor_every": 2, "evaluate_every": 3},
    "patience": {"patience": 2, "min_improvement": 9.0},  # so large that the run ends at step 4
}
every_feature = pytest.mark.parametrize("feature", FEATURES)


def make_run(
    folder: Path,
    kind: str = "mlp",
    *,
    seed: int = 0,
    data: str = "data",
    train_tokens: IntArray = TRAIN,
    val_tokens: IntArray = VAL,
    trained_by: dict[str, str] | None = None,
    **changed: Any,
) -> TrainingRun:
    """Return a run that has not begun; `changed` are settings of its training or of its rung."""
    folder.mkdir(exist_ok=True)
    rung = RUNGS[kind]
    parts = {name: changed.pop(name) for name in list(changed) if hasattr(rung, name)}
    training = rung.training.model_copy(update=changed)
    settings = rung.model_copy(update={"training": training, **parts})
    origin = Checkpoint(
        name=kind,
        kind=kind,
        config=settings.model_dump(),
        seed=seed,
        vocabulary_size=VOCABULARY,
        tokenizer={"name": "char", "characters": CHARACTERS},
        data_digest=data,
        trained_by=TRAINED_BY | (trained_by or {}),
    )
    build: Any = KINDS[kind]
    model = build(settings, VOCABULARY, rng=stream(seed, "weights"))
    return TrainingRun(model, origin, settings, train_tokens, val_tokens, folder)


def final_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a finished run that do not depend on code or versions."""
    return {name: (folder / name).read_bytes() for name in (LATEST, BEST, HISTORY)}


def finish(folder: Path, kind: str = "mlp", **changed: Any) -> dict[str, bytes]:
    """Train a run to its end; return its final files."""
    train(make_run(folder, kind, **changed))
    return final_files(folder)
