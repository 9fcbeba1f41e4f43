"""The same logits and tokens as in `transformers`, for whose sake the format is there."""

import json
from pathlib import Path
from typing import Any

from lmladder.config import TokenizerConfig, TransformerArchitecture
from lmladder.data import WhitespaceTokenizer, build_tokenizer
from lmladder.interop import FORMATS
from lmladder.interop.architecture import imported
from lmladder.models import build_neural
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint

import numpy as np
import pytest
from safetensors.numpy import load_file

REASON = "transformers and PyTorch, the peers, come with the extra `interop`"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

GPT2 = FORMATS["gpt2"]
TEXT = "Once upon a time, a cat\nwas naïve: 猫 12 \U0001f408!\n\n  the the\tcat's"
END = "<|endoftext|>"
TOLERANCE = 1e-4


def logits(checkpoint: Checkpoint, ids: list[int]) -> Any:
    (model,) = checkpoint.restore_models().values()
    return model.logits(np.array([ids])).value[0]


def their_logits(folder: Path, ids: list[int]) -> Any:
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


@pytest.mark.parametrize(
    ("choices", "tokenizer", "boundary"),
    [
        ({}, "bpe", "\n"),
        ({}, "bpe", None),
        ({"tied": False, "activation": "gelu"}, "char", "\n"),
        ({"activation": "relu_squared", "feed_forward_factor": 2.5}, "byte", "\n"),
        ({"activation": "silu", "n_layer": 3}, "char", None),
        ({"activation": "tanh"}, "byte", None),
        ({"activation": "relu"}, "byte", None),
        ({"activation": "sigmoid"}, "byte", None),
    ],
    ids=str,
)
def test_what_we_export_gives_the_same_logits_and_tokens_there(
    choices: dict[str, Any], tokenizer: str, boundary: str | None, tmp_path: Path
) -> None:
    settings = {"n_layer": 2, "n_head": 2, "d_model": 16, "activation": "gelu_tanh", **choices}
    architecture = TransformerArchitecture(context_length=80, dropout=0.0, **settings)
    size = 300 if tokenizer == "bpe" else None
    ours = build_tokenizer(TokenizerConfig(tokenizer, size, None), [[TEXT]], boundary=boundary)
    model = build_neural(architecture, ours.vocabulary_size, rng=stream(0, "weights"))
    weights = {
        name: stream(1, name).standard_normal(each.shape).astype(np.float32) / 2
        for name, each in model.parameters().items()
    }
    checkpoint = imported(architecture, ours, weights)
    assert GPT2.write(checkpoint, tmp_path / "gpt2") == []
    ids = ours.encode(TEXT).tolist()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "gpt2")
    assert theirs(TEXT)["input_ids"] == ids
    assert theirs.decode(ids) == TEXT
    assert len(theirs) == ours.vocabulary_size
    assert theirs.eos_token_id == ours.boundary
    difference = np.abs(logits(checkpoint, ids) - their_logits(tmp_path / "gpt2", ids)).max()
    assert difference < TOLERANCE


def test_words_between_white_space_can_be_exported(tmp_path: Path) -> None:
    ours = WhitespaceTokenizer(["the", "cat", "END"], boundary=2)
    architecture = TransformerArchitecture(1, 1, 4, 6, "gelu_tanh", 0.0)
    model = build_neural(architecture, 3, rng=stream(0, "weights"))
    weights = {name: each.value for name, each in model.parameters().items()}
    GPT2.write(imported(architecture, ours, weights), tmp_path / "gpt2")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "gpt2")
    ids = ours.encode("the cat END").tolist()
    assert theirs("the  cat\nEND")["input_ids"] == ids
    assert theirs.decode(ids) == "the cat END"


def gpt2_tokenizer() -> Any:
    """A GPT-2 tokenizer, small, that has learnt from the text."""
    learnt = build_tokenizer(TokenizerConfig("bpe", 290, None), [[TEXT]]).to_json()
    vocabulary = {token: number for number, token in enumerate([*learnt["vocabulary"], END])}
    merges = [tuple(merge.split(" ")) for merge in learnt["merges"]]
    return transformers.GPT2Tokenizer(vocab=vocabulary, merges=merges)


@pytest.mark.parametrize(
    ("choices", "dtype"),
    [
        ({}, "float32"),
        ({"tie_word_embeddings": False, "n_inner": 24}, "float32"),
        ({"activation_function": "relu"}, "float16"),
        ({}, "bfloat16"),
        ({}, "float64"),
    ],
    ids=str,
)
def test_what_we_import_gives_the_same_logits_and_tokens_here(
    choices: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    theirs = gpt2_tokenizer()
    end = theirs.convert_tokens_to_ids(END)
    config = transformers.GPT2Config(
        vocab_size=len(theirs),
        n_positions=80,
        n_embd=16,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,
        bos_token_id=end,
        eos_token_id=end,
        **choices,
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).to(getattr(torch, dtype)).eval()
    model.save_pretrained(tmp_path / "theirs")
    theirs.save_pretrained(tmp_path / "theirs")
    checkpoint, notes = GPT2.read(tmp_path / "theirs")
    assert notes == []
    ours = checkpoint.restore_tokenizer()
    assert ours.boundary == end
    text = f"{TEXT}{END}The cat's cat {END}\n"
    ids = theirs(text)["input_ids"]
    assert ours.encode(text).tolist() == ids
    assert ours.decode(ids) == text
    with torch.no_grad():
        wanted = model.float()(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(logits(checkpoint, ids) - wanted).max() < TOLERANCE
    if dtype == "float32":
        GPT2.write(checkpoint, tmp_path / "ours")
        before = load_file(tmp_path / "theirs/model.safetensors")
        after = load_file(tmp_path / "ours/model.safetensors")
        assert before.keys() == after.keys()
        for name, array in before.items():
            assert array.tobytes() == after[name].tobytes()
        again = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
        assert again(text)["input_ids"] == ids
        kept = json.loads((tmp_path / "theirs/config.json").read_text())
        made = json.loads((tmp_path / "ours/config.json").read_text())
        same = ("n_layer", "n_head", "n_inner", "vocab_size", "eos_token_id", "tie_word_embeddings")
        assert [made[key] for key in same] == [kept[key] for key in same]
