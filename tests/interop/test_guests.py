"""A model of `transformers` is a rung, with the scores that `transformers` computes."""

import json
import shutil
from pathlib import Path

from lmladder.data import build_tokenizer
from lmladder.models import KINDS
from lmladder.models.own import load_files
from lmladder.system.errors import InputError
from lmladder.system.settings import validate
from tests.data.examples import tokenizer_settings
from tests.models.examples import RUNGS

import numpy as np
import pytest

REASON = "transformers and PyTorch, the peers, come with the extra `interop`"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

TEXT = "Once upon a time a cat sat on a mat. The cat was na\u00efve.\n" * 6
LENGTH = 16


def guest(path):
    load_files([RUNGS / "huggingface.py"])
    kind = KINDS["hugging_face"]
    given = {"path": str(path), "context_length": None, "min_context": 0.5}
    settings = validate(kind.Settings, given)
    return kind(settings, 0, kind.learn(settings, np.zeros(1), 0))


def save(model, path):
    """Save a model with a BPE tokenizer."""
    ours = build_tokenizer(tokenizer_settings("bpe", vocabulary_size=300), [[TEXT]])
    model.save_pretrained(path)
    (path / "tokenizer.json").write_text(ours.engine.to_str())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small GPT-2 with random weights."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=304, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=2, initializer_range=0.5
    )
    save(transformers.GPT2LMHeadModel(config), path := Path("models/gpt2"))
    return path


def test_tokens_and_scores_are_those_of_the_library(folder):
    model = guest(folder)
    assert (model.context_length, model.max_length) == (LENGTH, LENGTH)
    library = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    ids = model.tokenizer.encode(TEXT)
    assert ids.tolist() == tokenizer(TEXT)["input_ids"]
    assert model.tokenizer.decode(ids) == TEXT
    sequences = ids[: 4 * LENGTH].astype(int).reshape(4, LENGTH)
    with torch.no_grad():
        logits = library(torch.tensor(sequences)).logits
        expected = torch.log_softmax(logits.double(), dim=-1).numpy()
    np.testing.assert_allclose(model.log_probabilities(sequences), expected, atol=1e-5)
    chosen = np.take_along_axis(expected[:, :-1], sequences[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(model.nll(sequences), -chosen, atol=1e-5)
    np.testing.assert_allclose(model.next_log_probabilities(sequences), expected[:, -1], atol=1e-5)


def change(folder, name, **changes):
    fields = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(fields | changes))


def test_a_folder_that_is_no_causal_model_with_a_tokenizer_is_rejected(folder):
    change(folder, "tokenizer.json", normalizer={"type": "Lowercase"})
    with pytest.raises(InputError, match=r"changes the text: 'The cat' at offset 0 becomes 'the"):
        guest(folder).tokenizer.encode("The cat")
    change(folder, "config.json", n_layer=3)
    with pytest.raises(InputError, match=r"gpt2 has no weights for transformer.h.2"):
        guest(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"gpt2 has no tokenizer: there is no .*tokenizer.json"):
        guest(folder)
    config = transformers.BertConfig(
        vocab_size=304, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=LENGTH, is_decoder=False,
        initializer_range=1.0,
    )  # fmt: skip
    save(transformers.BertLMHeadModel(config), path := Path("models/bert"))
    with pytest.raises(InputError, match=r"bert is not a causal model"):
        guest(path)


def test_a_folder_with_pickles_or_code_of_its_own_is_not_executed(folder):
    shutil.copytree(folder, other := Path("models/other"))
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    classes = {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Model"}
    change(folder, "config.json", model_type="mine", auto_map=classes)
    (folder / "mine.py").write_text("raise SystemExit('executed')\n")
    for path in (folder, other):
        with pytest.raises(InputError, match=r"transformers cannot load models"):
            guest(path)
