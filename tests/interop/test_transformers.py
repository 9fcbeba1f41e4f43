"""Exported models give the same logits and tokens in `transformers`, and imported ones here."""

from lmladder.data import build_tokenizer
from lmladder.interop import gpt2
from lmladder.models import restore_models
from tests.data.examples import tokenizer_settings
from tests.interop.examples import transformer_checkpoint
from tests.models.examples import TRANSFORMER, changed

import numpy as np
import pytest
from safetensors.numpy import load_file

REASON = "transformers and PyTorch, the peers, come with the extra `interop`"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

TEXT = "Once upon a time, a cat\nwas naïve: 猫 12 \U0001f408!\n\n  the the\tcat's"
END = "<|endoftext|>"
TOLERANCE = 1e-4
SMALL = changed(TRANSFORMER, d_model=16, context_length=80, dropout=0.0)


def assert_same_logits(checkpoint, model, ids):
    (ours,) = restore_models(checkpoint).values()
    with torch.no_grad():
        theirs = model.eval().float()(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(ours.logits(np.array([ids])).value[0] - theirs).max() < TOLERANCE


@pytest.mark.parametrize(
    ("changes", "name", "separator"),
    [
        ({}, "bpe", "\n"),
        ({"tied": False, "activation": "gelu"}, "char", "\n"),
        ({"activation": "relu_squared", "feed_forward_factor": 2.5}, "byte", "\n"),
        ({"activation": "tanh", "n_layer": 3}, "char", None),
        ({"activation": "relu"}, "byte", None),
    ],
    ids=str,
)
def test_an_exported_model_gives_the_same_logits_and_tokens_there(
    changes, name, separator, tmp_path
):
    ours = build_tokenizer(tokenizer_settings(name), [[TEXT]], separator=separator)
    checkpoint = transformer_checkpoint(changed(SMALL, **changes), ours, spread=0.5)
    gpt2.write(checkpoint, tmp_path / "gpt2")
    ids = ours.encode(TEXT).tolist()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "gpt2")
    assert theirs(TEXT)["input_ids"] == ids
    assert theirs.decode(ids) == TEXT
    assert (len(theirs), theirs.eos_token_id) == (ours.vocabulary_size, ours.eos)
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "gpt2")
    assert_same_logits(checkpoint, model, ids)


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({}, "float32"),
        ({"tie_word_embeddings": False, "n_inner": 24}, "float32"),
        ({"activation_function": "relu"}, "float16"),
    ],
    ids=str,
)
def test_an_imported_model_gives_the_same_logits_and_tokens_here(changes, dtype, tmp_path):
    fitted = build_tokenizer(tokenizer_settings("bpe", vocabulary_size=290), [[TEXT]]).to_json()
    vocabulary = {token: number for number, token in enumerate([*fitted["vocabulary"], END])}
    merges = [tuple(merge.split(" ")) for merge in fitted["merges"]]
    theirs = transformers.GPT2Tokenizer(vocab=vocabulary, merges=merges)
    end = theirs.convert_tokens_to_ids(END)
    sizes = {"n_positions": 80, "n_embd": 16, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
    ends = {"bos_token_id": end, "eos_token_id": end}
    config = transformers.GPT2Config(vocab_size=len(theirs), **sizes, **ends, **changes)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "theirs")
    theirs.save_pretrained(tmp_path / "theirs")
    checkpoint = gpt2.read(tmp_path / "theirs")
    ours = checkpoint.restore_tokenizer()
    text = f"{TEXT}{END}The cat's cat {END}\n"
    ids = theirs(text)["input_ids"]
    assert (ours.eos, ours.encode(text).tolist(), ours.decode(ids)) == (end, ids, text)
    assert_same_logits(checkpoint, model, ids)
    if dtype == "float32":
        gpt2.write(checkpoint, tmp_path / "ours")
        before, after = (
            load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "ours")
        )
        assert {name: array.tobytes() for name, array in before.items()} == {
            name: array.tobytes() for name, array in after.items()
        }
