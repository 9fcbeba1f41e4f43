"""Checkpoints: the same bytes for the same content, and one line for any file that is not one."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmladder.models import restore_models
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError
from lmladder.system.sealing import seal
from lmladder.training.checkpoint import SCHEMA, Checkpoint, array_bytes
from tests.models.examples import TRANSFORMER, build

import numpy as np
import pytest
from safetensors.numpy import load, save_file

SMALL = {"n_layer": 1, "d_model": 4, "context_length": 3, "dropout": 0.0}
SETTINGS = TRANSFORMER.model_copy(update=SMALL)
MODEL = build(SETTINGS, 5)
WEIGHTS: dict[str, Array] = {name: each.value for name, each in MODEL.parameters().items()}
MEANS = {f"mean.{name}": array * 0.5 for name, array in WEIGHTS.items()}
HISTORY = (
    {"step": 0, "train_loss": None, "val_loss": 1.6094379124341003},
    {"step": 10, "train_loss": 0.1 + 0.2, "val_loss": 1e-300},
)


def checkpoint(**changed: Any) -> Checkpoint:
    whole = Checkpoint(
        name="small",
        kind="transformer",
        config=SETTINGS.model_dump() | {"betas": (0.9, 0.99), "note": "naïve – ünïcode"},
        seed=3,
        vocabulary_size=5,
        tokenizer={"name": "char", "characters": "\n abé"},
        data_digest="d" * 64,
        trained_by={"code": "c" * 64, "kernels": "numba"},
        step=10,
        history=HISTORY,
        model=WEIGHTS,
        optimizer=MEANS,
    )
    return replace(whole, **changed)


def saved(folder: Path, **changed: Any) -> bytes:
    path = folder / "saved.safetensors"
    checkpoint(**changed).save(path)
    return path.read_bytes()


# --- Saving and loading ---------------------------------------------------------------------------


def test_load_returns_what_was_saved(tmp_path: Path) -> None:
    saved(tmp_path)
    loaded, original = Checkpoint.load(tmp_path / "saved.safetensors"), checkpoint()
    for name in ("name", "kind", "seed", "vocabulary_size", "tokenizer", "step", "history"):
        assert getattr(loaded, name) == getattr(original, name)
    assert loaded.config == original.config | {"betas": [0.9, 0.99]}  # JSON has no tuples
    assert loaded.identity == original.identity
    for ours, theirs in ((loaded.model, WEIGHTS), (loaded.optimizer, MEANS)):
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            assert ours[name].dtype == array.dtype
            np.testing.assert_array_equal(ours[name], array)
            ours[name] += 1  # loaded arrays can be written
    assert loaded.restore_tokenizer().decode([4, 3]) == "éb"


def test_strided_and_empty_arrays_are_saved(tmp_path: Path) -> None:
    arrays = {
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "strided": np.arange(8, dtype=np.float32)[::-2],
        "none": np.zeros((0, 3), np.float32),
    }
    saved(tmp_path, model=arrays)
    loaded = Checkpoint.load(tmp_path / "saved.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.model[name], array)
        assert loaded.model[name].dtype == array.dtype


def test_the_same_content_gives_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    first = saved(tmp_path)
    parts = {"model": WEIGHTS, "optimizer": MEANS, "config": checkpoint().config}
    parts = {name: dict(reversed(each.items())) for name, each in parts.items()}
    assert saved(tmp_path, **parts) == first
    Checkpoint.load(tmp_path / "saved.safetensors").save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == first


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "mlp"},
        {"config": checkpoint().config | {"dropout": 0.1}},
        {"seed": 4},
        {"tokenizer": {"name": "byte"}},
        {"data_digest": "e" * 64},
        {"trained_by": {"code": "e" * 64, "kernels": "numba"}},
        {"trained_by": {"code": "c" * 64, "kernels": "numpy"}},
        {"init_digest": "f" * 64},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_identity_changes_with_all_that_decides_a_run(changed: dict[str, Any]) -> None:
    assert checkpoint(**changed).identity != checkpoint().identity
    begun = checkpoint(step=0, history=(), model={}, optimizer={})
    assert begun.identity == checkpoint().identity  # which the course of the run does not change


# --- Files that are not checkpoints ---------------------------------------------------------------


def use(path: Path) -> None:
    """Load a checkpoint and all that is in it, and compute a score with its models."""
    loaded = Checkpoint.load(path)
    _ = loaded.identity
    loaded.restore_tokenizer()
    for model in restore_models(loaded).values():
        model.nll(np.array([[0, 1]]))


def write_raw(path: Path, header: Any, data: bytes) -> None:
    """Write a safetensors file by hand: length of the header, the header as JSON, the arrays."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_changed(path: Path, **changed: Any) -> None:
    """Write a whole checkpoint with other metadata, sealed again; a value None removes a key."""
    content = saved(path.parent)
    end = 8 + struct.unpack("<Q", content[:8])[0]
    raw = json.loads(content[8:end])
    header = json.loads(raw["__metadata__"]["lmladder"]) | changed
    del header["sha256"]
    header = {name: value for name, value in header.items() if value is not None}
    raw["__metadata__"]["lmladder"] = seal(header, array_bytes(load(content)))
    write_raw(path, raw, content[end:])


FOREIGN: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "other safetensors": lambda path: save_file({"a": np.ones(2)}, path),
    "bfloat16": lambda path: write_raw(
        path, {"model.a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4
    ),
    "unknown key": lambda path: write_changed(path, odd=1),
    "later schema": lambda path: write_changed(path, schema=SCHEMA + 1),
}


@pytest.mark.parametrize("file", FOREIGN)
def test_a_file_that_is_not_a_checkpoint_is_rejected_in_one_line(file: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    FOREIGN[file](path)
    with pytest.raises(InputError, match=r"^[^\n]*foreign\.safetensors[^\n]*$"):
        Checkpoint.load(path)


WRONG: dict[str, dict[str, Any]] = {
    "kind of other arrays": {"kind": "mlp"},
    "d_model of other weights": {"config": {**SETTINGS.model_dump(), "d_model": 8}},
    "too many tokens": {"vocabulary_size": 10**30},
    "tokenizer unknown": {"tokenizer": {"name": "odd"}},
}


@pytest.mark.parametrize("case", WRONG)
def test_metadata_that_does_not_fit_a_model_is_rejected_in_one_line(
    case: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.safetensors"
    write_changed(path, **WRONG[case])
    with pytest.raises(InputError) as caught:
        use(path)
    assert "\n" not in str(caught.value)
