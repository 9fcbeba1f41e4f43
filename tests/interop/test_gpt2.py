"""Hugging Face's folder of a GPT-2: round trips, what cannot be expressed, and damaged folders."""

import json
import os
import shlex
import struct
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from lmladder.config import CHOICES, TransformerArchitecture, typed
from lmladder.data import ByteTokenizer
from lmladder.interop import FORMATS, training_command
from lmladder.interop.architecture import imported
from lmladder.models import build_neural
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError, RunError
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

GPT2 = FORMATS["gpt2"]
SMALL = TransformerArchitecture(
    n_layer=2, n_head=2, d_model=4, context_length=6, activation="gelu_tanh", dropout=0.1
)


def checkpoint(**changed: Any) -> Checkpoint:
    """A Transformer whose every weight, biases too, is a number of its own."""
    architecture = replace(SMALL, **changed)
    model = build_neural(architecture, 256, rng=stream(0, "weights"))
    weights = {
        name: stream(1, name).standard_normal(tensor.shape).astype(np.float32)
        for name, tensor in model.parameters().items()
    }
    return imported(architecture, ByteTokenizer(boundary=10), weights)


def folder(path: Path, **changed: Any) -> Path:
    GPT2.write(checkpoint(**changed), path)
    return path


def edit(path: Path, **changed: Any) -> None:
    """Other values in a JSON file; ... drops one."""
    kept = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({key: value for key, value in kept.items() if value is not ...}))


def restore(path: Path, change: Callable[[dict[str, Array]], dict[str, Array]]) -> None:
    """Other tensors in a folder."""
    save_file(change(load_file(path / "model.safetensors")), path / "model.safetensors")


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert (one.config, one.tokenizer) == (other.config, other.tokenizer)
    assert one.model.keys() == other.model.keys()
    for name, array in one.model.items():
        assert other.model[name].dtype == array.dtype
        np.testing.assert_array_equal(other.model[name], array)


# --- Round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tied": False},
        {"feed_forward_factor": 2.5},
        {"activation": "relu_squared", "n_layer": 1, "n_head": 4},
        {"dropout": 0.0, "init_std": 0.05},
    ],
    ids=str,
)
def test_ours_to_gpt2_and_back_is_the_same(changed: dict[str, Any], tmp_path: Path) -> None:
    ours = checkpoint(**changed)
    assert GPT2.write(ours, tmp_path / "gpt2") == []
    back, notes = GPT2.read(tmp_path / "gpt2")
    assert notes == []
    assert_same(back, ours)


def test_gpt2_to_ours_and_back_has_the_same_bytes(tmp_path: Path) -> None:
    first = folder(tmp_path / "first", tied=False)
    read, _ = GPT2.read(first)
    read.save(tmp_path / "checkpoint.safetensors")
    GPT2.write(Checkpoint.load(tmp_path / "checkpoint.safetensors"), tmp_path / "second")
    assert {path.name for path in first.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    for path in first.iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_are_taken_over_exactly(dtype: type, tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    restore(path, lambda tensors: {name: each.astype(dtype) for name, each in tensors.items()})
    stored = load_file(path / "model.safetensors")["transformer.wte.weight"]
    read, _ = GPT2.read(path)
    np.testing.assert_array_equal(read.model["tokens.weight"], stored)
    kept = np.float64 if dtype == np.float64 else np.float32
    assert {array.dtype for array in read.model.values()} == {np.dtype(kept)}
    read.restore_models()


def test_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    data, header, start = parts(path)
    halves = np.frombuffer(data[start:], np.uint16)[1::2]  # the upper half of each float32
    for entry in header.values():
        if "dtype" in entry:
            entry["dtype"] = "BF16"
            entry["data_offsets"] = [offset // 2 for offset in entry["data_offsets"]]
    write_parts(path, header, halves.tobytes())
    read, _ = GPT2.read(path)
    for name, array in checkpoint().model.items():
        bits = np.ascontiguousarray(array).view(np.uint32)
        np.testing.assert_array_equal(
            np.ascontiguousarray(read.model[name]).view(np.uint32), bits & 0xFFFF0000
        )


def test_names_without_prefix_masks_and_a_tied_head_are_read(tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")

    def as_older_files(tensors: dict[str, Array]) -> dict[str, Array]:
        bare = {name.removeprefix("transformer."): each for name, each in tensors.items()}
        masks = {"h.0.attn.bias": np.ones((1, 1, 6, 6)), "h.1.attn.masked_bias": np.array(-1e4)}
        return {**bare, **masks, "lm_head.weight": bare["wte.weight"]}

    restore(path, as_older_files)
    assert_same(GPT2.read(path)[0], checkpoint())


def test_the_settings_of_the_first_files_are_understood(tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    for key in ("n_inner", "activation_function", "tie_word_embeddings", "resid_pdrop"):
        edit(path / "config.json", **{key: ...})
    edit(path / "config.json", n_ctx=6, summary_type="cls_index", gradient_checkpointing=False)
    assert_same(GPT2.read(path)[0], checkpoint())


# --- What GPT-2 does not have ---------------------------------------------------------------------

OTHERS: dict[str, list[Any]] = {
    "norm": ["rmsnorm", "none"],
    "positions": ["sinusoidal", "rotary", "none"],
    "activation": list(CHOICES["transformer.activation"]),
    "feed_forward_factor": [1.0, 2.75],
    "init_std": [0.5],
    "dropout": [0.5],
    "n_layer": [1],
    "n_head": [1],
    "d_model": [6],
    "context_length": [9],
}


@pytest.mark.parametrize("key", [each.name for each in fields(TransformerArchitecture)])
def test_a_choice_comes_back_or_is_refused_by_name(key: str, tmp_path: Path) -> None:
    default = getattr(SMALL, key)
    for index, value in enumerate(OTHERS.get(key, [not default])):
        assert isinstance(default, bool) or key in OTHERS
        path = tmp_path / str(index)
        message = ""
        try:
            GPT2.write(checkpoint(**{key: value}), path)
        except InputError as error:
            message = str(error)
        if message:
            shown = str(value).lower() if isinstance(value, bool) else value
            assert f"the format gpt2 does not have transformer.{key}={shown}" in message
            assert not path.exists()
        elif key != "residual_scaling":  # of how training began only
            assert GPT2.read(path)[0].config[key] == value


def test_other_rungs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a checkpoint of kind 'mlp'"):
        GPT2.write(replace(checkpoint(), kind="mlp"), tmp_path / "gpt2")


# --- Writing all or nothing -----------------------------------------------------------------------


def test_a_folder_with_files_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "gpt2").mkdir()
    folder(tmp_path / "gpt2")  # empty: taken
    before = {path: path.read_bytes() for path in (tmp_path / "gpt2").iterdir()}
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "gpt2", tmp_path / "file"):
        with pytest.raises(InputError, match="is not an empty folder"):
            GPT2.write(checkpoint(tied=False), path)
    assert {path: path.read_bytes() for path in (tmp_path / "gpt2").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "gpt2"]


@pytest.mark.parametrize("failing", [1, 3, 5])
def test_a_write_that_fails_leaves_nothing(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    rename = os.replace

    def no_space(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "No space left on device")
        rename(*arguments)

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(RunError, match="No space left on device"):
        folder(tmp_path / "gpt2")
    assert list(tmp_path.iterdir()) == []


# --- Folders that are not whole -------------------------------------------------------------------


def assert_refused(path: Path, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        GPT2.read(path)
    assert "\n" not in str(caught.value)


CONFIGS: dict[str, tuple[Any, str]] = {
    "model_type": ("llama", "model_type='llama' is read only as gpt2"),
    "layer_norm_epsilon": (1e-6, "layer_norm_epsilon"),
    "scale_attn_weights": (False, "scale_attn_weights=False"),
    "scale_attn_by_inverse_layer_idx": (True, "scale_attn_by_inverse_layer_idx=True"),
    "add_cross_attention": (True, "add_cross_attention=True"),
    "activation_function": ("gelu_10", "activation_function .*'gelu_10'"),
    "resid_pdrop": (1.0, "resid_pdrop"),
    "initializer_range": ("x", "initializer_range"),
    "n_layer": (2**31 - 1, "too few for 2147483647 layers"),
    "n_head": (3, r"transformer\.n_head=3"),
    "n_embd": (8, "more than the"),
    "n_inner": (15, "expand.weight has shape"),
    "n_positions": (7, "positions.weight has shape"),
    "vocab_size": (255, "vocab_size must be 256"),
}


@pytest.mark.parametrize("key", CONFIGS)
def test_a_config_of_another_model_is_refused_by_name(key: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    value, told = CONFIGS[key]
    edit(path / "config.json", **{key: value})
    assert_refused(path, told)


def test_a_size_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    whole = json.loads((path / "config.json").read_text())
    for key in ("n_layer", "n_head", "n_embd", "n_inner", "n_positions"):
        for value in (0, -1, 1.5, "2", True, [2], 2**31, 10**400):
            edit(path / "config.json", **whole | {key: value})
            assert_refused(path, f"{key} must be an integer of at least 1")


def drop(name: str) -> Callable[[dict[str, Array]], dict[str, Array]]:
    return lambda tensors: {key: each for key, each in tensors.items() if key != name}


TENSORS: dict[str, tuple[Callable[[dict[str, Array]], dict[str, Array]], str]] = {
    "one too few": (drop("transformer.h.1.mlp.c_fc.bias"), "does not have h.1.mlp.c_fc.bias"),
    "one too many": (lambda each: {**each, "transformer.h.2.ln_1.bias": np.ones(4)}, "h.2.ln_1"),
    "another shape": (
        lambda each: {**each, "transformer.ln_f.bias": np.ones(5, np.float32)},
        r"model.safetensors: .*norm.bias has shape \(5,\)",
    ),
    "transposed": (
        lambda each: {
            **each,
            "transformer.h.0.mlp.c_fc.weight": np.ones((16, 4), np.float32),
        },
        r"expand.weight has shape \(16, 4\).*\(4, 16\)",
    ),
    "nan": (
        lambda each: {**each, "transformer.ln_f.bias": np.full(4, np.nan, np.float32)},
        "ln_f.bias has values that are not finite",
    ),
    "whole numbers": (
        lambda each: {**each, "transformer.ln_f.bias": np.ones(4, np.int32)},
        "dtype I32",
    ),
    "with and without prefix": (
        lambda each: {**each, "ln_f.bias": each["transformer.ln_f.bias"]},
        "with and without",
    ),
}


@pytest.mark.parametrize("case", TENSORS)
def test_weights_that_do_not_fit_are_refused_by_name(case: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    change, told = TENSORS[case]
    restore(path, change)
    assert_refused(path, told)


def test_a_head_of_its_own_that_is_missing_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    edit(path / "config.json", tie_word_embeddings=False)
    assert_refused(path, "does not have lm_head.weight")


@pytest.mark.parametrize("name", ["gpt2.safetensors", "my model.safetensors", "it's,mine=1"])
def test_the_command_for_training_names_the_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    _, script, *overrides = shlex.split(training_command(checkpoint(tied=False), path))
    assert script == "stages/compose.py"
    conf = Path(__file__).resolve().parents[2] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = typed(compose("config", overrides)).transformer
    assert (config.init_from, config.watch) == (str(path), str(path))
    assert {each.name: getattr(config, each.name) for each in fields(SMALL)} == {
        **asdict(SMALL),
        "tied": False,
    }


def test_what_is_no_such_folder_is_told(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing", "there is no file .*config.json")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        path = folder(tmp_path / name)
        (path / name).unlink()
        assert_refused(path, f"there is no file .*{name}")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors.index.json"])
def test_pickles_and_shards_are_refused_unread(name: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    (path / "model.safetensors").rename(path / name)
    assert_refused(path, f"{name} is not read: weights must be in one file.*and not in a pickle")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    ours = {"name": "word", "words": ["a"], "unknown": "unk"}
    (path / "lmladder_tokenizer.json").write_text(json.dumps(ours))
    assert_refused(path, "tokens.weight has shape")


def test_no_path_in_a_file_is_followed(tmp_path: Path) -> None:
    """The one key of config.json that names a place: whence transformers once loaded the model."""
    path = folder(tmp_path / "gpt2")
    edit(path / "config.json", _name_or_path=str(tmp_path / "secret"), tokenizer_file="/dev/zero")
    assert_same(GPT2.read(path)[0], checkpoint())


def parts(path: Path) -> tuple[bytes, dict[str, Any], int]:
    """Of model.safetensors: all bytes, the header, and where the numbers begin."""
    data = (path / "model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    return data, json.loads(data[8:start]), start


def write_parts(path: Path, header: Any, numbers: bytes, length: int | None = None) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    size = struct.pack("<Q", len(text) if length is None else length)
    (path / "model.safetensors").write_bytes(size + text + numbers)


def test_a_safetensors_file_that_lies_about_sizes_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "gpt2")
    data, header, start = parts(path)
    weights = "transformer.wte.weight"
    for shape in ([1 << 40, 1 << 20], [256, 5], [-256, -4], [1 << 62, 0]):
        lying = {**header, weights: {**header[weights], "shape": shape}}
        write_parts(path, lying, data[start:])
        assert_refused(path, "safetensors")
    for length in (1 << 63, len(data), 1):
        write_parts(path, header, data[start:], length)
        assert_refused(path, "safetensors")
    for whole in (b"", data[:100], data[:-1], data + b"\0"):
        (path / "model.safetensors").write_bytes(whole)
        assert_refused(path, "safetensors")


@given(data=st.data())
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
def test_damaged_bytes_are_read_or_refused_in_one_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = tmp_path_factory.getbasetemp() / "whole"
    if not whole.exists():
        folder(whole)
    damaged = tmp_path_factory.getbasetemp() / "damaged"
    damaged.mkdir(exist_ok=True)
    for path in whole.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    victim = damaged / data.draw(st.sampled_from(sorted(path.name for path in whole.iterdir())))
    content = bytearray(victim.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, min(len(content), 4000) - 1))
        content[place] = data.draw(st.integers(0, 255))
    victim.write_bytes(content[: data.draw(st.integers(0, len(content))) or None])
    message = ""
    try:
        read, _ = GPT2.read(damaged)
        read.restore_models()
        read.restore_tokenizer()
    except InputError as error:
        message = str(error)
    assert "\n" not in message
