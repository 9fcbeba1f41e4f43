"""TinyLM's JSON: the Go program's own numbers, round trips, and files that are not its own."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmladder.autograd import Captured, Tensor, functional
from lmladder.data import cache_directory
from lmladder.interop import FORMATS
from lmladder.models.transformer import Transformer
from lmladder.optim import AdamW, global_norm
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint

import numpy as np
import pytest

TINY = FORMATS["tiny-lm"]
SENTENCE = "the cat sat on mat END"


@pytest.fixture(scope="module")
def original() -> Path:
    """The weights that come with the Go program."""
    path = cache_directory() / "tiny_gpt_weights.json"
    if not path.is_file():
        pytest.skip(f"tiny_gpt_weights.json is not in {cache_directory()} (see LMLADDER_DATA)")
    return path


def read(path: Path) -> Checkpoint:
    checkpoint, notes = TINY.read(path)
    assert notes == []
    return checkpoint


def in_float64(checkpoint: Checkpoint) -> Transformer:
    (model,) = checkpoint.restore_models().values()
    assert isinstance(model, Transformer)
    model.astype(np.float64)
    for name, tensor in model.parameters().items():
        tensor.value = np.array(checkpoint.model[name], np.float64)
    return model


def tokens(checkpoint: Checkpoint, text: str) -> Any:
    return checkpoint.restore_tokenizer().encode(text).astype(np.int64)[None]


# --- What the Go program prints -------------------------------------------------------------------


def test_the_loss_is_that_of_the_go_program(original: Path) -> None:
    checkpoint = read(original)
    (model,) = checkpoint.restore_models().values()
    assert model.n_parameters == 224
    assert f"{model.nll(tokens(checkpoint, SENTENCE)).mean():.4f}" == "2.3960"


def test_an_imported_model_is_trained_to_the_same_bits_as_the_file_that_it_is_saved_in(
    original: Path, tmp_path: Path
) -> None:
    imported = read(original)
    assert not imported.model["unembedding.weight"].flags.c_contiguous
    imported.save(tmp_path / "imported.safetensors")

    def trained_by_adamw(checkpoint: Checkpoint) -> dict[str, bytes]:
        (model,) = checkpoint.restore_models().values()
        assert isinstance(model, Transformer)
        parameters = model.parameters()
        optimizer = AdamW(
            parameters, learning_rate=0.01, betas=(0.9, 0.99), epsilon=1e-8, weight_decay=0.1
        )
        loss_of = Captured(model.loss, parameters.values())
        for step in range(3):
            loss_of(tokens(checkpoint, SENTENCE))
            optimizer.step(step, gradient_scale=1 / global_norm(parameters.values()))
            for tensor in parameters.values():
                tensor.grad = None
        return {name: tensor.value.tobytes() for name, tensor in parameters.items()}

    saved = Checkpoint.load(tmp_path / "imported.safetensors")
    assert trained_by_adamw(imported) == trained_by_adamw(saved)


def past(x: Tensor, normed: Tensor) -> Tensor:
    """What flows past a branch."""
    return x


def past_in_go(x: Tensor, normed: Tensor) -> Tensor:
    """The same, but its gradient goes through the branch's norm, as in the Go program.

    That is no derivative; normed(x) stands in for x where gradients are concerned.
    """
    return normed + Tensor(x.value - normed.value)


def trained(
    checkpoint: Checkpoint, skip: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Transformer, list[str]]:
    """The model after 50 steps of SGD on the sum of losses, and the mean before each step."""
    model, rows = in_float64(checkpoint), tokens(checkpoint, SENTENCE)
    losses = []
    for _ in range(50):
        x = model.embedded(rows[:, :-1], np.arange(rows.shape[1] - 1))
        for block in model.blocks:
            normed = block.attention_norm(x)
            x = skip(x, normed) + block.attention(normed)
            normed = block.feed_forward_norm(x)
            x = skip(x, normed) + block.feed_forward(normed)
        loss = functional.cross_entropy(model.head(model.norm(x)), rows[:, 1:])
        losses.append(f"{float(loss.value):.4f}")
        (loss * float(rows.shape[1] - 1)).backward()
        for tensor in model.parameters().values():
            tensor.value = tensor.value - 0.01 * tensor.grad
            tensor.grad = None
    return model, losses


@pytest.mark.parametrize(
    ("skip", "losses"),
    [
        (past_in_go, ["2.3960", "1.7137", "1.2517", "0.6704"]),  # what it prints
        (past, ["2.3960", "1.8089", "1.2897", "0.7326"]),
    ],
)
def test_training_gives_its_losses_with_its_gradients_and_others_with_ours(
    skip: Callable[[Tensor, Tensor], Tensor], losses: list[str], original: Path
) -> None:
    _, found = trained(read(original), skip)
    assert [found[epoch] for epoch in (0, 5, 20, 45)] == losses


def test_trained_it_ends_the_sentence(original: Path) -> None:
    checkpoint = read(original)
    model, _ = trained(checkpoint, past_in_go)
    text = tokens(checkpoint, "the cat")
    for _ in range(4):
        best = model.next_log_probabilities(text).argmax()
        text = np.append(text, [[best]], axis=1)
    tokenizer = checkpoint.restore_tokenizer()
    assert tokenizer.decode(text[0]) == SENTENCE
    assert tokenizer.boundary == text[0, -1]


def test_export_gives_back_the_same_numbers(original: Path, tmp_path: Path) -> None:
    TINY.write(read(original), tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(original.read_text())


# --- Round trips ----------------------------------------------------------------------------------

WORDS = ["a", "cat", "naïve", "END"]
SHAPES = {
    "token_embed.weight": (4, 6),
    "pos_embed.weight": (5, 6),
    **{
        f"blocks.{block}.{name}": shape
        for block in (0, 1)
        for name, shape in {
            **{f"attn.W_{letter}.weight": (6, 6) for letter in "qkvo"},
            **{f"norm{n}.{part}": (6,) for n in (1, 2) for part in ("weight", "bias")},
            "ff.linear1.weight": (6, 9),
            "ff.linear1.bias": (9,),
            "ff.linear2.weight": (9, 6),
            "ff.linear2.bias": (6,),
        }.items()
    },
    "ln_f.weight": (6,),
    "ln_f.bias": (6,),
    "lm_head.weight": (4, 6),
}


def made() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "d_model": 6,
        "n_layers": 2,
        "n_heads": 3,
        "vocab": list(WORDS),
        "weights": {name: rng.standard_normal(shape).tolist() for name, shape in SHAPES.items()},
    }


def written(folder: Path, fields: Any) -> Path:
    path = folder / "weights.json"
    path.write_text(json.dumps(fields))
    return path


def test_a_file_of_any_shape_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint = read(written(tmp_path, made()))
    checkpoint.save(tmp_path / "checkpoint.safetensors")
    again = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    TINY.write(again, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == made()
    config = again.architecture()
    assert (config.context_length, config.feed_forward_factor) == (5, 1.5)
    tokenizer = again.restore_tokenizer()
    assert tokenizer.decode(tokenizer.encode(" a  cat\nnaïve END")) == "a cat naïve END"
    with pytest.raises(InputError, match="unknown word 'dog'"):
        tokenizer.encode("a dog")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"positions": "rotary"}, "transformer.positions=rotary, only learned"),
        ({"qk_norm": True}, "transformer.qk_norm=true, only false"),
        ({"attention_bias": True}, "transformer.attention_bias=true, only false"),
        ({"tied": True}, "transformer.tied=true, only false"),
        ({"activation": "gelu"}, "transformer.activation=gelu, only gelu_tanh"),
    ],
)
def test_what_tiny_lm_lacks_is_refused_by_name(
    changed: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read(written(tmp_path, made()))
    monkeypatch.setattr(Checkpoint, "restore_models", lambda self: {})  # its arrays do not matter
    with pytest.raises(InputError, match=f"the format tiny-lm does not have {told}"):
        TINY.write(replace(checkpoint, config=checkpoint.config | changed), tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_another_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = read(written(tmp_path, made()))
    other = replace(checkpoint, tokenizer={"name": "char", "characters": "abcd"})
    with pytest.raises(InputError, match=r"tokenizer\.name=char"):
        TINY.write(other, tmp_path / "out.json")


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    checkpoint = read(written(tmp_path, made()))
    spoilt = {**checkpoint.model, "norm.bias": np.full(6, np.nan)}
    with pytest.raises(InputError, match="not finite"):
        TINY.write(replace(checkpoint, model=spoilt), tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


# --- Files that are not its own -------------------------------------------------------------------

HEAD = "lm_head.weight"


def spoil(*path: Any, value: Any) -> dict[str, Any]:
    fields: Any = made()
    at = fields
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return dict(fields)


def without(*path: Any) -> dict[str, Any]:
    fields: Any = made()
    at = fields
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return dict(fields)


WRONG = {
    "no weights": (without("weights"), "does not have weights"),
    "a weight too few": (without("weights", HEAD), f"does not have {HEAD}"),
    "a weight too many": (spoil("weights", "odd", value=[1.0]), "odd"),
    "a block too few": (spoil("n_layers", value=1), "blocks.1"),
    "a block too many": (spoil("n_layers", value=3), "does not have blocks.2"),
    "a huge number of blocks": (
        spoil("n_layers", value=2**31 - 1),
        "too few for 2147483647 layers",
    ),
    "no whole number": (spoil("d_model", value=6.0), "d_model must be an integer"),
    "true": (spoil("n_heads", value=True), "n_heads must be an integer"),
    "zero": (spoil("n_heads", value=0), "n_heads"),
    "heads that do not fit": (spoil("n_heads", value=4), "transformer.n_head=4"),
    "another size": (spoil("d_model", value=12), "ask for more than the 672"),
    "a row too few": (spoil("weights", HEAD, value=[[0.0] * 6] * 3), r"shape \(6, 3\)"),
    "a ragged row": (spoil("weights", HEAD, 1, value=[0.0] * 5), f"{HEAD} must be rectangular"),
    "a number for a row": (spoil("weights", HEAD, 1, value=1.0), f"{HEAD} must be rectangular"),
    "a string": (spoil("weights", HEAD, 1, 0, value="1.0"), "of numbers, got '1.0'"),
    "null": (spoil("weights", HEAD, 1, 0, value=None), "of numbers, got None"),
    "a boolean": (spoil("weights", HEAD, 1, 0, value=True), "of numbers, got True"),
    "a huge whole number": (spoil("weights", HEAD, 1, 0, value=10**400), "not finite in float32"),
    "more than a float32": (spoil("weights", HEAD, 1, 0, value=3.41e38), "not finite in float32"),
    "NaN": (spoil("weights", HEAD, 1, 0, value=math.nan), "NaN is not a number"),
    "infinity": (spoil("weights", HEAD, 1, 0, value=math.inf), "Infinity is not a number"),
    "a word twice": (spoil("vocab", value=["a", "a", "b", "c"]), "one or more words, each once"),
    "a word with a space": (spoil("vocab", 0, value="a b"), "'a b'"),
    "no words": (spoil("vocab", value=[]), "one or more words"),
    "a number for a word": (spoil("vocab", 0, value=1), "vocab must be a list of strings"),
    "a half character": (spoil("vocab", 0, value="\ud800"), "U\\+D800"),
    "an empty list": (spoil("weights", "pos_embed.weight", value=[]), "of numbers, got \\[\\]"),
    "a list": ([1], "has no JSON object"),
    "a number": (1, "has no JSON object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    fields, told = WRONG[case]
    with pytest.raises(InputError, match=told) as caught:
        TINY.read(written(tmp_path, fields))
    assert "\n" not in str(caught.value)
