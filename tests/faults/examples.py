"""Small files of every kind, for the tests of faults."""

import json
import tracemalloc

from lmladder.data import CharTokenizer, Corpus
from lmladder.interop import gpt2
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint
from lmladder.training.loop import train
from tests.data.examples import prepared_text
from tests.interop.examples import transformer_checkpoint
from tests.interop.test_tiny_lm import FIELDS
from tests.models import examples as models
from tests.models.examples import build
from tests.training.examples import make_run

import pytest

MLP = models.MLP.model_copy(update={"context_length": 2, "embedding_size": 2, "hidden_sizes": [3]})
SIZES = {"n_layer": 1, "n_head": 1, "d_model": 2, "context_length": 2, "dropout": 0.0}
TRANSFORMER = models.TRANSFORMER.model_copy(update=SIZES)


def weights(model):
    return {name: tensor.value for name, tensor in model.parameters().items()}


def small_checkpoint():
    """Return a checkpoint with a value in each of its fields."""
    model = weights(build(MLP, 3))
    return Checkpoint(
        name="mlp",
        kind="mlp",
        config=MLP.model_dump() | {"note": "naïve"},
        seed=0,
        vocabulary_size=3,
        tokenizer={"name": "char", "characters": "\n é"},
        data_digest="d" * 64,
        trained_by={"code": "c" * 64, "kernels": "numba"},
        step=2,
        history=({"step": 0, "val_loss": 1e-300}, {"step": 2, "val_loss": 1.5}),
        pending=({"train_loss": 0.25},),
        model=model,
        optimizer={f"mean.{name}": value * 0.5 for name, value in model.items()},
    )


def prepare_in(folder):
    documents = [f"wörd {i}" for i in range(60)]
    prepared_text(folder, Corpus("words", documents, "\n", [1 + i * 1e-7 for i in range(60)]))


def train_in(folder):
    train(make_run(folder, evaluate_every=3))


def small_model(path, name):
    """Write a Transformer in the format of another program."""
    if name == "tiny-lm":
        path.write_text(json.dumps(FIELDS))
    else:
        gpt2.write(transformer_checkpoint(TRANSFORMER, CharTokenizer("abc")), path)
    return path


def rejection_without_memory(load, path):
    """Return the message with which a file is rejected, before much memory is allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()
    return str(caught.value)
