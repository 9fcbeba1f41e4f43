"""The JSON of TinyLM: what the Go program prints, round trips, and files that are rejected."""

import json
import math
from dataclasses import replace

from lmladder.data import cache_directory
from lmladder.interop import FORMATS
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint
from tests.interop.examples import with_value

import numpy as np
import pytest

TINY = FORMATS["tiny-lm"]
SENTENCE = "the cat sat on mat END"


@pytest.fixture(scope="module")
def original():
    """The file of weights that comes with the Go program."""
    path = cache_directory() / "tiny_gpt_weights.json"
    if not path.is_file():
        pytest.skip(f"tiny_gpt_weights.json is not in {cache_directory()} (see LMLADDER_DATA)")
    return path


def read(path):
    checkpoint, notes = TINY.read(path)
    assert notes == []
    return checkpoint


# --- What the Go program prints -------------------------------------------------------------------


def test_an_imported_model_has_the_loss_that_the_go_program_prints(original, tmp_path):
    checkpoint = read(original)
    (model,) = checkpoint.restore_models().values()
    assert model.n_parameters == 224
    tokenizer = checkpoint.restore_tokenizer()
    tokens = tokenizer.encode("the cat sat on mat END")
    assert f"{model.nll(tokens[None]).mean():.4f}" == "2.3960"
    assert tokenizer.eos == tokens[-1]
    TINY.write(checkpoint, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(original.read_text())


# --- Round trips ----------------------------------------------------------------------------------

HEAD = "lm_head.weight"
BLOCK = {
    **{f"attn.W_{letter}.weight": (6, 6) for letter in "qkvo"},
    **{f"norm{n}.{part}": (6,) for n in (1, 2) for part in ("weight", "bias")},
    **{"ff.linear1.weight": (6, 9), "ff.linear1.bias": (9,)},
    **{"ff.linear2.weight": (9, 6), "ff.linear2.bias": (6,)},
}
SHAPES = {
    **{"token_embed.weight": (4, 6), "pos_embed.weight": (5, 6), HEAD: (4, 6)},
    **{f"blocks.{block}.{name}": shape for block in (0, 1) for name, shape in BLOCK.items()},
    **{"ln_f.weight": (6,), "ln_f.bias": (6,)},
}
RNG = np.random.default_rng(0)
FIELDS = {
    "d_model": 6,
    "n_layers": 2,
    "n_heads": 3,
    "vocab": ["a", "cat", "naïve", "END"],
    "weights": {name: RNG.standard_normal(shape).tolist() for name, shape in SHAPES.items()},
}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "weights.json").write_text(json.dumps(FIELDS))
    return tmp_path / "weights.json"


def test_a_file_is_the_same_after_import_and_export(path, tmp_path):
    read(path).save(tmp_path / "checkpoint.safetensors")
    again = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    TINY.write(again, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == FIELDS
    settings = again.settings()
    assert (settings.context_length, settings.feed_forward_factor) == (5, 1.5)
    tokenizer = again.restore_tokenizer()
    assert tokenizer.decode(tokenizer.encode(" a  cat\nnaïve END")) == "a cat naïve END"


REJECTED = {
    "transformer.positions=rotary, only learned": {"config": {"positions": "rotary"}},
    "transformer.attention_bias=true, only false": {"config": {"attention_bias": True}},
    "tokenizer.name=char": {"tokenizer": {"name": "char", "characters": "abcd"}},
    "not finite": {"model": {"norm.bias": np.full(6, np.inf)}},
}


@pytest.mark.parametrize("message", REJECTED)
def test_what_tiny_lm_does_not_have_is_rejected_by_name(message, path, monkeypatch):
    checkpoint = read(path)
    ((name, value),) = REJECTED[message].items()
    held = value if name == "tokenizer" else getattr(checkpoint, name) | value
    monkeypatch.setattr(Checkpoint, "restore_models", lambda self: {})  # the arrays may not fit
    with pytest.raises(InputError, match=message):
        TINY.write(replace(checkpoint, **{name: held}), path.parent / "new")
    assert not (path.parent / "new").exists()


# --- Files that are rejected ----------------------------------------------------------------------

# The path of a value, the other value (...: none), and what the message names.
WRONG = {
    "no weights": (("weights",), ..., "does not have weights"),
    "a missing weight": (("weights", HEAD), ..., f"does not have {HEAD}"),
    "a block too many": (("n_layers",), 3, "does not have blocks.2"),
    "not an integer": (("d_model",), 6.0, "d_model must be an integer"),
    "another size": (("d_model",), 12, "require more than the 672"),
    "a number for a row": (("weights", HEAD, 1), 1.0, f"{HEAD} must be rectangular"),
    "a boolean": (("weights", HEAD, 1, 0), True, "of numbers, got True"),
    "more than a float32": (("weights", HEAD, 1, 0), 3.41e38, "not finite in float32"),
    "NaN": (("weights", HEAD, 1, 0), math.nan, "NaN is not a number"),
    "an empty list": (("weights", "pos_embed.weight"), [], r"of numbers, got \[\]"),
    "a word twice": (("vocab",), ["a", "a", "b", "c"], "one or more words, each once"),
    "a word with a space": (("vocab", 0), "a b", "'a b'"),
    "a number for a word": (("vocab", 0), 1, "vocab must be a list of strings"),
    "a surrogate": (("vocab", 0), "\ud800", r"U\+D800"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_rejected_in_one_line(case, path):
    keys, value, message = WRONG[case]
    path.write_text(json.dumps(with_value(FIELDS, keys, value)))
    with pytest.raises(InputError, match=message):
        TINY.read(path)
