"""Files that were written to do harm: rejected before they take memory or time."""

import json
import struct
from dataclasses import replace

from lmladder.interop import read_model
from lmladder.models import restore_models
from lmladder.system.errors import InputError
from lmladder.system.sealing import seal
from lmladder.training.checkpoint import SCHEMA, Checkpoint
from tests.faults.examples import (
    MLP,
    TRANSFORMER,
    rejection_without_memory,
    small_checkpoint,
    small_model,
)

import numpy as np
import pytest
from safetensors.numpy import save_file

HUGE = 2**31 - 1


def test_a_message_is_one_line_and_has_no_control_codes_of_a_terminal(tmp_path):
    message = str(InputError("naïve\n\x1b]0;owned\a \udcff\u202e"))
    assert message == r"naïve\n\x1b]0;owned\x07 \udcff\u202e"
    path = tmp_path / "checkpoint.safetensors"
    save_file({}, path, metadata={"lmladder": seal({"schema": SCHEMA, "\x1b[31m\n": 1})})
    with pytest.raises(InputError, match="cannot be read") as caught:
        Checkpoint.load(path)
    assert str(caught.value).isprintable()


# --- Sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        # A file of these weights may have each of these sizes alone, but not two of them together.
        ("mlp", {"context_length": 30_000, "embedding_size": 30_000}),
        ("transformer", {"context_length": 30_000, "d_model": 30_000}),
        ("transformer", {"feed_forward_factor": 1e9}),
    ],
    ids=str,
)
def test_sizes_in_a_checkpoint_take_no_more_memory_than_its_weights(kind, asked):
    config = (TRANSFORMER if kind == "transformer" else MLP).model_dump() | asked
    weights = {"tokens.weight": np.zeros(30_000, np.float32)}
    checkpoint = replace(small_checkpoint(), kind=kind, config=config, model=weights)
    message = rejection_without_memory(lambda _: restore_models(checkpoint), None)
    assert "more than" in message or "must be at most" in message


def test_a_huge_number_of_layers_takes_no_time(tmp_path):
    path = small_model(tmp_path / "tiny.json", "tiny-lm")
    fields = json.loads(path.read_text()) | {"n_layers": HUGE}
    fields["weights"][f"blocks.{HUGE - 1}.norm1.weight"] = [1.0, 1.0]
    path.write_text(json.dumps(fields))
    message = rejection_without_memory(read_model, path)
    assert "too few for its layers" in message


TENSOR = '"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,4]}'
HEADERS = {
    "a tensor twice": f"{{{TENSOR % 1},{TENSOR % 2**60}}}",
    "a shape twice": f"{{{TENSOR % 1}}}".replace('"shape"', f'"shape":[{2**60}],"shape"'),
    "a huge shape": f"{{{TENSOR % 2**60}}}",
    "many levels": '{"a":' * 100_000,
}


@pytest.mark.parametrize("case", HEADERS)
def test_an_ambiguous_or_false_header_of_safetensors_is_rejected(case, tmp_path):
    folder = small_model(tmp_path / "gpt2", "gpt2")
    header = HEADERS[case].encode()
    content = struct.pack("<Q", len(header)) + header + b"four"
    (folder / "model.safetensors").write_bytes(content)
    rejection_without_memory(read_model, folder)
