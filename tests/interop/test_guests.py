"""A model that `transformers` trained is a rung, with the scores that `transformers` computes."""

import json
import math
import shutil
from pathlib import Path

from lmladder.data import build_tokenizer
from lmladder.evaluation import score_models
from lmladder.evaluation.guests import convert
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models import KINDS
from lmladder.models.own import load_files
from lmladder.system.errors import InputError
from tests.data.examples import prepared_text, tokenizer_settings
from tests.models.examples import RUNGS

import numpy as np
import pytest

REASON = "transformers and PyTorch, the peers, come with the extra `interop`"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

TEXT = "Once upon a time a cat sat on a mat. The cat was na\u00efve.\n" * 60
LENGTH = 16


def guest(path):
    kind, _ = "hugging_face", load_files([RUNGS / "huggingface.py"])
    settings, component = KINDS.model_settings(kind)(path=str(path)), KINDS.component(kind)
    return component(settings, 0, component.fit(settings, np.zeros(1), 0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small GPT-2 with random weights and a BPE tokenizer."""
    monkeypatch.chdir(tmp_path)
    ours = build_tokenizer(tokenizer_settings("bpe", vocabulary_size=300), [[TEXT]])
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=ours.vocabulary_size + 4, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=2,
        initializer_range=0.5,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(path := Path("models/gpt2"))
    (path / "tokenizer.json").write_text(ours.engine.to_str())
    return path


def test_the_scores_are_those_of_the_library_in_bits_per_byte(folder, tmp_path):
    text, model = prepared_text(tmp_path, TEXT), guest(folder)
    assert (model.context_length, model.max_length) == (LENGTH, LENGTH)
    on_val = EvaluateSettings(
        splits=["val"], checkpoint="latest", min_context=0.5, batch_tokens=100, excess_error=0.1
    )
    (score,) = score_models({"gpt2": model}, text, on_val).values()
    own = convert(model.tokenizer, LENGTH, text, "val")
    whole = text.tokenizer.decode(text.val)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    assert own.tokens.tolist() == tokenizer(whole)["input_ids"]
    library = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    lead = LENGTH // 2
    stream = np.append(own.preceding[-lead:], own.tokens).astype(int)
    total, scored = 0.0, lead
    while scored < len(stream):  # each token once, with half a window before it or more
        start = min(max(0, scored - lead - 1), len(stream) - 1 - LENGTH)
        window = torch.tensor(stream[start : start + LENGTH + 1])[None]
        labels = window.clone()
        labels[:, : scored - start] = -100  # those that are not scored
        with torch.no_grad():
            logits = library(window[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits[0], labels[0, 1:], reduction="sum")
        total, scored = total + loss.item(), start + LENGTH + 1
    n_bytes = len(whole.encode())
    assert (score.tokens, score.bytes) == (len(own.tokens), n_bytes)
    assert score.bits_per_byte == pytest.approx(total / n_bytes / math.log(2), abs=1e-5)
    sequences = stream[: 4 * (LENGTH + 1)].reshape(4, -1)
    logs = model.log_probabilities(sequences[:, :-1])
    chosen = np.take_along_axis(logs, sequences[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(model.nll(sequences), -chosen, rtol=1e-6)
    np.testing.assert_allclose(model.next_log_probabilities(sequences[:, :-1]), logs[:, -1], 1e-5)


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
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"transformers cannot load .*gpt2"):
        guest(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"gpt2 has no tokenizer: there is no .*tokenizer.json"):
        guest(folder)


def test_a_folder_with_code_of_its_own_is_not_executed(folder):
    classes = {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Model"}
    change(folder, "config.json", model_type="mine", auto_map=classes)
    (folder / "mine.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(InputError, match=r"transformers cannot load .*gpt2"):
        guest(folder)


def test_a_model_that_reads_later_tokens_is_rejected(folder):
    path = Path("models/bert")
    config = transformers.BertConfig(
        vocab_size=304, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=LENGTH, is_decoder=False,
        initializer_range=1.0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertLMHeadModel(config).save_pretrained(path)
    shutil.copy(folder / "tokenizer.json", path)
    with pytest.raises(InputError, match=r"bert is not a causal model"):
        guest(path)
