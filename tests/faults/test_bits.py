"""Flip any bit of a file, or cut it off anywhere: it is refused in one line, never used."""

import json
import math
import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from lmladder.config import MlpArchitecture, TokenizerConfig
from lmladder.data import Corpus, Prepared, write_prepared
from lmladder.models import build_neural
from lmladder.system.errors import InputError
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint

import numpy as np
import pytest

SAMPLED = 400  # places in the data of a file, beside all of its header
PREPARED = ("train.npy", "val.npy", "test.npy", "tokenizer.json", "corpus.json")
NPY_HEADER = 128
ARCHITECTURE = MlpArchitecture(
    context_length=2, embedding_size=2, hidden_sizes=[3], activation="tanh"
)


def checkpoint(path: Path) -> None:
    """A small one, with all that a checkpoint may hold."""
    model = build_neural(ARCHITECTURE, 3, rng=stream(0, "weights"))
    weights = {name: each.value for name, each in model.parameters().items()}
    Checkpoint(
        kind="mlp",
        config=asdict(ARCHITECTURE) | {"name": "naïve"},
        seed=0,
        vocabulary_size=3,
        tokenizer={"name": "char", "characters": "\n é"},
        data_digest="d" * 64,
        trained_by={"code": "c" * 64, "kernels": "numba"},
        step=2,
        history=({"step": 0, "val_loss": 1e-300}, {"step": 2, "val_loss": 1.5}),
        pending=({"train_loss": 0.25},),
        model=weights,
        optimizer={f"mean.{name}": value * 0.5 for name, value in weights.items()},
    ).save(path)


def prepared(folder: Path) -> None:
    documents = [f"wörd {i}" for i in range(60)]
    write_prepared(
        folder,
        Corpus.of_documents("words", documents, [1 + i * 1e-7 for i in range(60)]),
        tokenizer=TokenizerConfig("char", None, None),
        train=0.8,
        val=0.1,
        test=0.1,
        seed=0,
        settings={"data": {"seed": 0, "sha256": None}, "tokenizer": "char"},
    )


def load_prepared(folder: Path) -> None:
    Prepared.open(folder).verify()


def flipped(path: Path, places: Iterator[tuple[int, int]]) -> Iterator[str]:
    """Flip one bit after the other, given as (byte, bit), and put each back."""
    with path.open("r+b", buffering=0) as file:
        for place, bit in places:
            file.seek(place)
            (byte,) = file.read(1)
            for value in (byte ^ (1 << bit), byte):
                file.seek(place)
                file.write(bytes([value]))
                if value != byte:
                    yield f"bit {bit} of byte {place}"


def cut(path: Path, lengths: Iterator[int]) -> Iterator[str]:
    """Cut the file off at one length after the other."""
    whole = path.read_bytes()
    for length in lengths:
        path.write_bytes(whole[:length])
        yield f"cut to {length}"
    path.write_bytes(whole)


def silent(load: Callable[[Path], object], path: Path, damages: Iterator[str]) -> list[str]:
    """The damages with which `path` loads as if nothing were wrong; prints how many were tried."""
    accepted, told = [], []
    for damage in damages:
        try:
            load(path)
            accepted.append(damage)
        except InputError as error:
            told.append(str(error))
    print(f"{len(accepted) + len(told):,} damages to {path.name}, {len(accepted)} silent")
    assert not any("\n" in each for each in told)
    return accepted


def damages(path: Path, header: int, bits: range) -> Iterator[str]:
    """Each bit of each byte of the header and of a sample of the rest, and a cut before each."""
    rng, size = random.Random(0), path.stat().st_size
    rest = range(header, size)
    places = [*range(header), *sorted(rng.sample(rest, min(SAMPLED, len(rest))))]
    yield from flipped(path, ((place, (place + bit) % 8) for place in places for bit in bits))
    yield from cut(path, iter(places))


# One bit of each byte, another from byte to byte; or all of them.
each_bit = pytest.mark.parametrize(
    "bits", [range(1), pytest.param(range(8), marks=pytest.mark.slow)], ids=["one", "all"]
)


@each_bit
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_damage_to_a_checkpoint_is_silent(tmp_path: Path, bits: range) -> None:
    path = tmp_path / "checkpoint.safetensors"
    checkpoint(path)
    header = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert silent(Checkpoint.load, path, damages(path, header, bits)) == []
    Checkpoint.load(path)


@each_bit
@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_damage_to_a_prepared_file_is_silent(name: str, tmp_path: Path, bits: range) -> None:
    prepared(tmp_path)
    path = tmp_path / name
    header = NPY_HEADER if name.endswith(".npy") else path.stat().st_size
    silent_ones = silent(lambda _: load_prepared(tmp_path), path, damages(path, header, bits))
    assert silent_ones == []
    load_prepared(tmp_path)


def without_memory(load: Callable[[Path], object], path: Path) -> str:
    """Refused, and before more memory is asked for than a file so small could need; how it is."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()
    return str(caught.value)


@pytest.mark.parametrize("shape", [[1 << 60], [1 << 30, 1 << 30], [1 << 40, 0, 1 << 40]], ids=str)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_array_larger_than_its_file_is_refused_before_memory_is_taken(
    shape: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "huge.safetensors"
    array = {"dtype": "F32", "shape": shape, "data_offsets": [0, math.prod(shape) * 4]}
    header = json.dumps({"model.a": array}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"four")
    without_memory(Checkpoint.load, path)

    prepared(tmp_path)
    with (tmp_path / "train.npy").open("wb") as file:
        declared = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, declared)
        file.write(b"four")
    without_memory(load_prepared, tmp_path)
