"""A model for export, and files of other programs with one change."""

import json

from lmladder.training.checkpoint import Checkpoint
from tests.models.examples import build


def transformer_checkpoint(architecture, tokenizer, spread=1.0):
    """Return a Transformer whose weights, biases too, all differ."""
    parameters = build(architecture, tokenizer.vocabulary_size, spread=spread).parameters()
    return Checkpoint(
        name="transformer",
        kind="transformer",
        config=architecture.model_dump(),
        seed=0,
        vocabulary_size=tokenizer.vocabulary_size,
        tokenizer=tokenizer.to_json(),
        data_digest="",
        model={name: tensor.value for name, tensor in parameters.items()},
    )


def with_value(fields, path, value):
    """Return nested JSON with another value at a path; ... removes it."""
    *keys, last = path
    copy = node = json.loads(json.dumps(fields))
    for key in keys:
        node = node[key]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return copy
