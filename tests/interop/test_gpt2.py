"""The folder of a GPT-2 in the format of Hugging Face: round trips, and what is rejected."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from lmladder.config.composing import composed, validated
from lmladder.data import ByteTokenizer
from lmladder.interop import gpt2, training_command
from lmladder.nn import ACTIVATIONS
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint
from tests.interop.examples import transformer_checkpoint
from tests.models.examples import TRANSFORMER, changed

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

SMALL = changed(TRANSFORMER, d_model=4, context_length=6, dropout=0.1)
# Settings that GPT-2 has, and those that it does not have.
OWN = [
    {},
    *({"activation": each} for each in ACTIVATIONS),
    {"feed_forward_factor": 2.5},
    {"tied": False, "init_std": 0.05, "dropout": 0.5},
    {"n_layer": 1, "n_head": 4, "d_model": 8, "context_length": 9},
]
OTHERS = [
    *({"norm": "rmsnorm"}, {"positions": "rotary"}, {"pointer": 4}, {"convolution": 2}),
    *({"window": 2}, {"last_window": 2}),
    *({each: False} for each in ("norm_weights", "final_norm", "bias", "attention_bias")),
    *({each: True} for each in ("embedding_norm", "qk_norm", "gated_attention")),
]


def checkpoint(**changes):
    return transformer_checkpoint(changed(SMALL, **changes), ByteTokenizer(eos=10))


@pytest.fixture
def folder(tmp_path):
    gpt2.write(checkpoint(), tmp_path / "gpt2")
    return tmp_path / "gpt2"


def change_config(folder, **changes):
    """Change values in config.json; ... removes one."""
    held = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in held.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(kept))


def change_tensors(folder, **changes):
    """Change tensors; ... removes one."""
    path = folder / "model.safetensors"
    held = load_file(path) | changes
    save_file({key: value for key, value in held.items() if value is not ...}, path)


def assert_same(one, other):
    assert (one.config, one.tokenizer) == (other.config, other.tokenizer)
    assert one.model.keys() == other.model.keys()
    for name, array in one.model.items():
        np.testing.assert_array_equal(other.model[name], array)


@pytest.mark.parametrize("changes", OWN, ids=str)
def test_a_model_and_a_folder_are_the_same_after_export_and_import(changes, tmp_path):
    ours, folders = checkpoint(**changes), (tmp_path / "first", tmp_path / "second")
    gpt2.write(ours, folders[0])
    gpt2.read(folders[0]).save(tmp_path / "saved.safetensors")
    back = Checkpoint.load(tmp_path / "saved.safetensors")
    assert_same(back, ours)
    gpt2.write(back, folders[1])
    first, second = ({each.name: each.read_bytes() for each in it.iterdir()} for it in folders)
    assert first == second


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_a_setting_that_gpt2_does_not_have_is_rejected_by_name(changes, tmp_path):
    ((key, value),) = changes.items()
    with pytest.raises(InputError, match=f"does not have transformer.{key}={value}, only"):
        gpt2.write(checkpoint(**changes), tmp_path / "gpt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_are_read_exactly(dtype, folder):
    # All of these types can represent small multiples of 1/8.
    path = folder / "model.safetensors"
    values = {name: np.round(8 * each) / 8 for name, each in load_file(path).items()}
    save_file({name: each.astype(dtype) for name, each in values.items()}, path)
    model = gpt2.read(folder).model
    np.testing.assert_array_equal(model["tokens.weight"], values["transformer.wte.weight"])
    joined = [model[f"blocks.1.attention.{part}.bias"] for part in ("query", "key", "value")]
    np.testing.assert_array_equal(
        np.concatenate(joined), values["transformer.h.1.attn.c_attn.bias"]
    )


def test_files_of_earlier_versions_of_transformers_are_read(folder):
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): each for name, each in tensors.items()}
    masks = {"h.0.attn.bias": np.ones((1, 1, 6, 6)), "h.1.attn.masked_bias": np.array(-1e4)}
    save_file({**bare, **masks, "lm_head.weight": bare["wte.weight"]}, folder / "model.safetensors")
    missing = ("n_inner", "activation_function", "tie_word_embeddings", "resid_pdrop")
    change_config(folder, n_ctx=6, _name_or_path="/dev/zero", **dict.fromkeys(missing, ...))
    assert_same(gpt2.read(folder), checkpoint())


def test_the_command_that_trains_an_imported_model_has_all_its_settings(tmp_path):
    path = tmp_path / "model.safetensors"
    overrides = shlex.split(training_command(checkpoint(tied=False), path))[2:]
    conf = Path(__file__).resolve().parents[2] / "conf"
    config = validated(composed(conf, overrides)).transformer
    expected = SMALL.model_dump() | {"tied": False, "init_from": str(path)}
    assert {key: getattr(config, key) for key in expected} == expected


CONFIGS = {
    "model_type": ("llama", "model_type='llama' is read only as gpt2"),
    "layer_norm_epsilon": (1e-6, "layer_norm_epsilon"),
    "activation_function": ("gelu_10", "activation must be .*gelu_10"),
    "n_head": (3, r"n_head=3 does not divide"),
    "n_embd": (8, "require more values than it contains"),
    "n_inner": (15, "up_proj.weight must have shape"),
}


@pytest.mark.parametrize("key", CONFIGS)
def test_a_config_of_another_model_is_rejected_by_name(key, folder):
    value, message = CONFIGS[key]
    change_config(folder, **{key: value})
    with pytest.raises(InputError, match=message):
        gpt2.read(folder)


TENSORS = {
    "does not have 'h.1.mlp.c_fc.bias'": {"transformer.h.1.mlp.c_fc.bias": ...},
    "has 'h.2.ln_1.bias'": {"transformer.h.2.ln_1.bias": np.ones(4, "f4")},
    r"norm.bias must have .* got \(5,\)": {"transformer.ln_f.bias": np.ones(5, "f4")},
    r"up_proj.weight must .* \(4, 16\)": {"transformer.h.0.mlp.c_fc.weight": np.ones((16, 4))},
    "ln_f.bias must have finite": {"transformer.ln_f.bias": np.full(4, np.nan)},
}


@pytest.mark.parametrize("message", TENSORS)
def test_weights_that_do_not_fit_are_rejected_by_name(message, folder):
    change_tensors(folder, **TENSORS[message])
    with pytest.raises(InputError, match=message):
        gpt2.read(folder)


def test_a_missing_file_and_another_kind_of_model_are_named(folder):
    (folder / "lmladder_tokenizer.json").unlink()
    assert gpt2.read(folder).vocabulary_size == 256
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        (folder / name).unlink()
        with pytest.raises(InputError, match=name):
            gpt2.read(folder)
    with pytest.raises(InputError, match="not a model of kind 'mlp'"):
        gpt2.write(replace(checkpoint(), kind="mlp"), folder / "new")
