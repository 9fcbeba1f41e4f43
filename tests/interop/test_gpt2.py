"""The folder of a GPT-2 in the format of Hugging Face: round trips, and what is rejected."""

import json
import os
import shlex
import struct
from dataclasses import asdict, fields, replace
from pathlib import Path

from lmladder.config import typed
from lmladder.data import ByteTokenizer
from lmladder.interop import FORMATS, training_command
from lmladder.interop.architecture import build_checkpoint
from lmladder.models import TransformerSettings
from lmladder.models.settings import ACTIVATIONS
from lmladder.system.errors import InputError, RunError
from lmladder.training.checkpoint import Checkpoint
from tests.models.examples import build

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from safetensors.numpy import load_file, save_file

GPT2 = FORMATS["gpt2"]
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SMALL = TransformerSettings(
    n_layer=2, n_head=2, d_model=4, context_length=6, activation="gelu_tanh", dropout=0.1
)
# Settings that GPT-2 has, and those that it does not have.
OWN = [
    {},
    *({"activation": each} for each in ACTIVATIONS),
    *({"feed_forward_factor": each} for each in (1.0, 2.5)),
    *({"dropout": each} for each in (0.0, 0.5)),
    {"tied": False},
    {"init_std": 0.05},
    {"n_layer": 1, "n_head": 4, "d_model": 8, "context_length": 9},
]
OTHERS = [
    *({"norm": each} for each in ("rmsnorm", "none")),
    *({"positions": each} for each in ("sinusoidal", "rotary", "none")),
    *(
        {each.name: not each.default}
        for each in fields(TransformerSettings)
        if type(each.default) is bool and each.name not in ("tied", "residual_scaling")
    ),
]


def checkpoint(**changes):
    """Return a Transformer whose weights, biases too, all differ."""
    architecture = replace(SMALL, **changes)
    parameters = build(architecture, 256, spread=1.0).parameters()
    weights = {name: tensor.value for name, tensor in parameters.items()}
    return build_checkpoint(architecture, ByteTokenizer(eos=10), weights)


@pytest.fixture
def folder(tmp_path):
    GPT2.write(checkpoint(), tmp_path / "gpt2")
    return tmp_path / "gpt2"


def with_config(folder, **changes):
    """Change values in config.json; ... removes one."""
    held = json.loads((folder / CONFIG).read_text()) | changes
    kept = {key: value for key, value in held.items() if value is not ...}
    (folder / CONFIG).write_text(json.dumps(kept))


def with_tensors(folder, **changes):
    """Change tensors; ... removes one."""
    held = load_file(folder / WEIGHTS) | changes
    save_file({key: value for key, value in held.items() if value is not ...}, folder / WEIGHTS)


def assert_same(one, other):
    assert (one.config, one.tokenizer) == (other.config, other.tokenizer)
    assert one.model.keys() == other.model.keys()
    for name, array in one.model.items():
        assert other.model[name].dtype == array.dtype
        np.testing.assert_array_equal(other.model[name], array)


def assert_rejected(folder, message):
    with pytest.raises(InputError, match=message):
        GPT2.read(folder)


# --- Round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", OWN, ids=str)
def test_a_model_is_the_same_after_export_and_import(changes, tmp_path):
    ours = checkpoint(**changes)
    assert GPT2.write(ours, tmp_path / "gpt2") == []
    back, notes = GPT2.read(tmp_path / "gpt2")
    assert notes == []
    assert_same(back, ours)


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_a_setting_that_gpt2_does_not_have_is_rejected_by_name(changes, tmp_path):
    ((key, value),) = changes.items()
    shown = str(value).lower()
    with pytest.raises(InputError, match=f"gpt2 does not have transformer.{key}={shown},"):
        GPT2.write(checkpoint(**changes), tmp_path / "gpt2")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_the_same_bytes_after_import_and_export(tmp_path):
    first, path = tmp_path / "first", tmp_path / "checkpoint.safetensors"
    GPT2.write(checkpoint(tied=False), first)
    GPT2.read(first)[0].save(path)
    GPT2.write(Checkpoint.load(path), tmp_path / "second")
    names = sorted(os.listdir(first))
    assert names == [CONFIG, WEIGHTS, "tokenizer.json", "tokenizer_config.json"]
    for name in names:
        assert (first / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_values_are_read_exactly(dtype, folder):
    # All of these types can represent small multiples of 1/8.
    values = {name: np.round(8 * each) / 8 for name, each in load_file(folder / WEIGHTS).items()}
    if dtype == "bfloat16":  # the upper half of a float32
        upper = {name: (each.view(np.uint32) >> 16).astype("u2") for name, each in values.items()}
        save_file(upper, folder / WEIGHTS)
        data = (folder / WEIGHTS).read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        header = data[8:start].replace(b"U16", b"BF16")
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + data[start:])
    else:
        save_file({name: each.astype(dtype) for name, each in values.items()}, folder / WEIGHTS)
    model = GPT2.read(folder)[0].model
    assert {each.dtype.name for each in model.values()} == {
        "float64" if dtype == "float64" else "float32"
    }
    np.testing.assert_array_equal(model["tokens.weight"], values["transformer.wte.weight"])
    joined = [model[f"blocks.1.attention.{part}.bias"] for part in ("query", "key", "value")]
    np.testing.assert_array_equal(
        np.concatenate(joined), values["transformer.h.1.attn.c_attn.bias"]
    )


def test_files_of_earlier_versions_of_transformers_are_read(folder):
    tensors = load_file(folder / WEIGHTS)
    bare = {name.removeprefix("transformer."): each for name, each in tensors.items()}
    masks = {"h.0.attn.bias": np.ones((1, 1, 6, 6)), "h.1.attn.masked_bias": np.array(-1e4)}
    save_file({**bare, **masks, "lm_head.weight": bare["wte.weight"]}, folder / WEIGHTS)
    missing = ("n_inner", "activation_function", "tie_word_embeddings", "resid_pdrop")
    with_config(folder, n_ctx=6, summary_type="cls_index", **dict.fromkeys(missing, ...))
    # No path in a file is followed.
    with_config(folder, _name_or_path=str(folder / "secret"), tokenizer_file="/dev/zero")
    assert_same(GPT2.read(folder)[0], checkpoint())


def test_the_command_that_trains_an_imported_model_has_all_its_settings(tmp_path):
    path = tmp_path / "it's my,model=1.safetensors"
    overrides = shlex.split(training_command(checkpoint(tied=False), path))[2:]
    conf = Path(__file__).resolve().parents[2] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = typed(compose("config", overrides)).transformer
    expected = asdict(SMALL) | {"tied": False, "init_from": str(path), "watch": str(path)}
    assert {key: getattr(config, key) for key in expected} == expected


# --- Writing all or nothing -----------------------------------------------------------------------


def test_a_path_with_content_is_left_alone_and_an_empty_folder_is_used(tmp_path):
    (tmp_path / "gpt2").mkdir()
    GPT2.write(checkpoint(), tmp_path / "gpt2")
    before = {path: path.read_bytes() for path in (tmp_path / "gpt2").iterdir()}
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "gpt2", tmp_path / "file"):
        with pytest.raises(InputError, match="is not an empty folder"):
            GPT2.write(checkpoint(tied=False), path)
    assert {path: path.read_bytes() for path in (tmp_path / "gpt2").iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["file", "gpt2"]


@pytest.mark.parametrize("failing", [1, 3, 5])
def test_a_write_that_fails_leaves_nothing(failing, tmp_path, monkeypatch):
    calls, rename = [], os.replace

    def no_space(*arguments):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        rename(*arguments)

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(RunError, match="No space left on device"):
        GPT2.write(checkpoint(), tmp_path / "gpt2")
    assert os.listdir(tmp_path) == []


# --- What is rejected -----------------------------------------------------------------------------

CONFIGS = {
    "model_type": ("llama", "model_type='llama' is read only as gpt2"),
    "layer_norm_epsilon": (1e-6, "layer_norm_epsilon"),
    "scale_attn_weights": (False, "scale_attn_weights=False"),
    "add_cross_attention": (True, "add_cross_attention=True"),
    "activation_function": ("gelu_10", "activation_function .*'gelu_10'"),
    "resid_pdrop": (1.0, "resid_pdrop"),
    "n_layer": (1.5, "n_layer must be an integer of at least 1"),
    "n_head": (3, r"transformer\.n_head=3"),
    "n_embd": (8, "more than the"),
    "n_inner": (15, "up_proj.weight must have shape"),
    "vocab_size": (255, "vocab_size must be 256"),
    "tie_word_embeddings": (False, "does not have lm_head.weight"),
}


@pytest.mark.parametrize("key", CONFIGS)
def test_a_config_of_another_model_is_rejected_by_name(key, folder):
    value, message = CONFIGS[key]
    with_config(folder, **{key: value})
    assert_rejected(folder, message)


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


LAST, FIRST = "transformer.ln_f.bias", "transformer.h.0.mlp.c_fc.weight"
TENSORS = {
    "a missing tensor": (
        {"transformer.h.1.mlp.c_fc.bias": ...},
        "does not have h.1.mlp.c_fc.bias",
    ),
    "an unknown tensor": ({"transformer.h.2.ln_1.bias": ones(4)}, "h.2.ln_1"),
    "another shape": ({LAST: ones(5)}, r"model.safetensors: .*norm.bias must have .* got \(5,\)"),
    "transposed": ({FIRST: ones(16, 4)}, r"up_proj.weight must have shape \(4, 16\)"),
    "nan": ({LAST: np.nan * ones(4)}, "ln_f.bias has values that are not finite"),
    "integers": ({LAST: ones(4, dtype=np.int32)}, "dtype I32"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_weights_that_do_not_fit_are_rejected_by_name(case, folder):
    changes, message = TENSORS[case]
    with_tensors(folder, **changes)
    assert_rejected(folder, message)


def test_a_missing_file_is_named(folder):
    assert_rejected(folder / "missing", "there is no file .*config.json")
    for name in (CONFIG, "tokenizer.json", WEIGHTS):
        (folder / name).rename(folder / "elsewhere")
        assert_rejected(folder, f"there is no file .*{name}")
        (folder / "elsewhere").rename(folder / name)


def test_another_kind_of_model_or_tokenizer_is_rejected(folder):
    with pytest.raises(InputError, match="not a checkpoint of kind 'mlp'"):
        GPT2.write(replace(checkpoint(), kind="mlp"), folder / "new")
    words = {"name": "word", "words": ["a"], "unknown": "unk"}
    (folder / "lmladder_tokenizer.json").write_text(json.dumps(words))
    assert_rejected(folder, "tokens.weight must have shape")
