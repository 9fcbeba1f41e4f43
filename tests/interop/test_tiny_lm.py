"""The JSON of TinyLM: what the Go program prints, and files that are rejected."""

import json
import math

from lmladder.data import cache_directory
from lmladder.interop import read_model
from lmladder.models import restore_models
from lmladder.models.kind import model_settings
from lmladder.system.errors import InputError
from tests.interop.examples import with_value

import numpy as np
import pytest


def test_an_imported_model_has_the_loss_that_the_go_program_prints():
    path = cache_directory() / "tiny_gpt_weights.json"  # which comes with the Go program
    if not path.is_file():
        pytest.skip(f"tiny_gpt_weights.json is not in {cache_directory()} (see LMLADDER_DATA)")
    checkpoint = read_model(path)
    (model,) = restore_models(checkpoint).values()
    assert model.n_parameters == 224
    tokenizer = checkpoint.restore_tokenizer()
    tokens = tokenizer.encode("the cat sat on mat END")
    assert f"{model.nll(tokens[None]).mean():.4f}" == "2.3960"
    assert tokenizer.eos == tokens[-1]


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


def test_a_file_has_its_sizes_weights_and_words(tmp_path):
    (tmp_path / "weights.json").write_text(json.dumps(FIELDS))
    imported = read_model(tmp_path / "weights.json")
    settings, tokenizer = model_settings(imported), imported.restore_tokenizer()
    assert (settings.context_length, settings.feed_forward_factor) == (5, 1.5)
    assert tokenizer.decode(tokenizer.encode(" a  cat\nnaïve END")) == "a cat naïve END"
    head = np.array(FIELDS["weights"][HEAD], np.float32).T
    np.testing.assert_array_equal(imported.model["unembedding.weight"], head)


# The path of a value, the other value (...: none), and what the message names.
WRONG = {
    "a missing weight": (("weights", HEAD), ..., f"does not have '{HEAD}'"),
    "a block too many": (("n_layers",), 3, r"does not have 'blocks\.2"),
    "another size": (("d_model",), 12, "require more values than it contains"),
    "a number for a row": (("weights", HEAD, 1), 1.0, "is not a file of TinyLM"),
    "more than a float32": (("weights", HEAD, 1, 0), 3.41e38, "finite values in float32"),
    "NaN": (("weights", HEAD, 1, 0), math.nan, "finite values in float32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_rejected_in_one_line(case, tmp_path):
    keys, value, message = WRONG[case]
    (path := tmp_path / "weights.json").write_text(json.dumps(with_value(FIELDS, keys, value)))
    with pytest.raises(InputError, match=message):
        read_model(path)
