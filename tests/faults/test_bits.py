"""A file of which any bit has changed, or that is cut anywhere, is rejected."""

import random
import struct
from contextlib import suppress

from lmladder.data import Prepared
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint
from tests.faults.examples import prepare_in, small_checkpoint

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
SAMPLE = 60  # bytes of a header, and as many after it
READERS = {
    "checkpoint.safetensors": lambda folder: Checkpoint.load(folder / "checkpoint.safetensors"),
    **dict.fromkeys(("train.npy", "tokenizer.json", "corpus.json"), Prepared.open),
}


@pytest.fixture
def folder(tmp_path):
    prepare_in(tmp_path)
    small_checkpoint().save(tmp_path / "checkpoint.safetensors")
    return tmp_path


def damages(path):
    """Damage a file in one way after the other; yield what was done, and restore the file.

    Tried are a sample of the bytes of the header, and of those after it.
    """
    whole, draw = path.read_bytes(), random.Random(0)
    start = {".npy": 128, ".json": len(whole)}.get(path.suffix)
    start = start or 8 + struct.unpack("<Q", whole[:8])[0]
    for part in (range(start), range(start, len(whole))):
        for position in draw.sample(part, min(SAMPLE, len(part))):
            changed = bytearray(whole)
            changed[position] ^= 1 << position % 8
            path.write_bytes(changed)
            yield f"a bit of byte {position}"
            path.write_bytes(whole[:position])
            yield f"cut to {position} bytes"
    path.write_bytes(whole)


@pytest.mark.parametrize("name", READERS)
def test_any_damage_to_a_file_is_rejected(name, folder):
    accepted = []
    for damage in damages(folder / name):
        with suppress(InputError):
            READERS[name](folder)
            accepted.append(damage)
    assert accepted == []
    READERS[name](folder)
