"""A model that `transformers` trained is a rung, with the scores that `transformers` computes."""

import json
import math
import shutil

from lmladder.data import build_tokenizer
from lmladder.evaluation import score_models
from lmladder.evaluation.guests import convert
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.interop import FORMATS
from lmladder.models import KINDS
from lmladder.sampling import Strategy, complete
from lmladder.system.errors import InputError
from tests.data.examples import prepared_text, tokenizer_settings
from tests.interop.test_transformers import SMALL, our_checkpoint

import numpy as np
import pytest

REASON = "transformers and PyTorch, the peers, come with the extra `interop`"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

TEXT = "Once upon a time a cat sat on a mat. The cat was na\u00efve.\n" * 60
LENGTH = 16


def guest(path, **settings):
    schema = KINDS.model_settings("huggingface")
    return KINDS.component("huggingface")(schema(path=str(path), watch=str(path), **settings), 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small GPT-2 with a BPE tokenizer, trained a little."""
    path = tmp_path_factory.mktemp("guests") / "gpt2"
    ours = build_tokenizer(tokenizer_settings("bpe", vocabulary_size=300), [[TEXT]])
    FORMATS["gpt2"].write(our_checkpoint(SMALL, ours), path)
    torch.manual_seed(0)
    size = ours.vocabulary_size
    config = transformers.GPT2Config(
        vocab_size=size + 4, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=2
    )
    model = transformers.GPT2LMHeadModel(config).train()
    tokens = torch.tensor(ours.encode(TEXT)[: 32 * LENGTH].astype(int)).view(32, LENGTH)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(30):
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(path)
    return path


def test_the_scores_are_those_of_the_library_in_bits_per_byte(folder, tmp_path):
    text = prepared_text(tmp_path, TEXT)
    model = guest(folder)
    assert (model.context_length, model.max_length) == (LENGTH, LENGTH)
    on_val = EvaluateSettings(["val"], "latest", 0.5, 100)
    (score,) = score_models({"gpt2": model}, text, on_val).values()

    whole, before = (text.tokenizer.decode(each) for each in (text.val, text.train))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    ids = tokenizer(whole)["input_ids"]
    own = convert(model.tokenizer, LENGTH, text, "val")
    assert own.tokens.tolist() == ids
    assert before.endswith(tokenizer.decode(own.preceding))
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
    assert score.nats_per_token == pytest.approx(total / len(ids), abs=1e-5)
    n_bytes = len(whole.encode())
    assert (score.tokens, score.bytes) == (len(ids), n_bytes)
    assert score.bits_per_byte == pytest.approx(total / n_bytes / math.log(2), abs=1e-5)

    sequences = stream[: 4 * (LENGTH + 1)].reshape(4, -1)
    labeled = torch.tensor(sequences)
    with torch.no_grad():
        loss = library(labeled[:, :LENGTH], labels=labeled[:, :LENGTH]).loss.item()
    assert model.nll(sequences[:, :LENGTH]).mean() == pytest.approx(loss, abs=1e-5)
    logs = model.log_probabilities(sequences[:, :-1])
    np.testing.assert_allclose(np.exp(logs).sum(axis=-1), 1, rtol=1e-12)
    chosen = np.take_along_axis(logs, sequences[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(model.nll(sequences), -chosen, rtol=1e-6)
    np.testing.assert_allclose(model.next_log_probabilities(sequences[:, :-1]), logs[:, -1], 1e-5)

    prompt = model.tokenizer.encode("The cat")
    (made,) = complete(
        model, model.tokenizer, prompt, tokens=LENGTH + 4, strategy=Strategy(temperature=0.5)
    )
    assert made.prompt == "The cat"
    assert len(made.text) > LENGTH


def changed(folder, tmp_path, name, **changes):
    path = tmp_path / "changed"
    shutil.copytree(folder, path)
    fields = json.loads((path / name).read_text())
    (path / name).write_text(json.dumps(fields | changes))
    return path


def test_a_folder_that_is_no_causal_model_with_a_tokenizer_is_rejected(folder, tmp_path):
    path = tmp_path / "gone"
    with pytest.raises(InputError, match=r"there is no file .*gone/config.json"):
        guest(path)
    shutil.copytree(folder, path)
    (path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"gone has no tokenizer: there is no .*tokenizer.json"):
        guest(path)
    (path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer.json is not a tokenizer"):
        guest(path)
    shutil.copy(folder / "tokenizer.json", path)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"transformers cannot load .*gone"):
        guest(path)
    (path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4])
    with pytest.raises(InputError, match=r"transformers cannot load .*gone"):
        guest(path)
    shutil.copy(folder / "model.safetensors", path)
    (path / "config.json").write_text(
        (path / "config.json").read_text().replace('"n_layer": 2', '"n_layer": 3')
    )
    with pytest.raises(InputError, match=r"gone has no weights for transformer.h.2"):
        guest(path)


def test_a_folder_with_code_of_its_own_is_not_executed(folder, tmp_path):
    classes = {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Model"}
    path = changed(folder, tmp_path, "config.json", model_type="mine", auto_map=classes)
    (path / "mine.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(InputError, match=r"transformers cannot load .*changed"):
        guest(path)


def test_a_model_that_reads_later_tokens_is_rejected(folder, tmp_path):
    path = tmp_path / "bert"
    config = transformers.BertConfig(
        vocab_size=304, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=LENGTH, is_decoder=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertLMHeadModel(config)
    for each in model.parameters():
        each.data.normal_()
    model.save_pretrained(path)
    shutil.copy(folder / "tokenizer.json", path)
    with pytest.raises(InputError, match=r"bert is not a causal model"):
        guest(path)


def test_a_tokenizer_that_changes_a_text_is_rejected(folder, tmp_path):
    path = changed(folder, tmp_path, "tokenizer.json", normalizer={"type": "Lowercase"})
    with pytest.raises(InputError, match=r"changes the text: 'The cat' at offset 0 becomes 'the"):
        guest(path).tokenizer.encode("The cat")
