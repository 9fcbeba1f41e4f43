"""Checkpoints: the same bytes for the same contents, and one line for whatever is no checkpoint."""

import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lmladder.config import BigramConfig, TransformerArchitecture
from lmladder.models import build_neural
from lmladder.models.counts import CountTables
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError, LadderError, RunError
from lmladder.system.sealing import seal
from lmladder.system.streams import stream
from lmladder.training.checkpoint import COUNTS, SCHEMA, Checkpoint, content_of

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save_file

ARCHITECTURE = TransformerArchitecture(
    n_layer=1, n_head=2, d_model=4, context_length=3, activation="gelu", dropout=0.0
)
MODEL = build_neural(ARCHITECTURE, 5, rng=stream(0, "weights"))
WEIGHTS: dict[str, Array] = {name: each.value for name, each in MODEL.parameters().items()}
MEANS = {f"mean.{name}": array * 0.5 for name, array in WEIGHTS.items()}
HISTORY = (
    {"step": 0, "train_loss": None, "val_loss": 1.6094379124341003},
    {"step": 10, "train_loss": 0.1 + 0.2, "val_loss": 1e-300},
)


def checkpoint(**changed: Any) -> Checkpoint:
    whole = Checkpoint(
        kind="transformer",
        config=asdict(ARCHITECTURE) | {"betas": (0.9, 0.99), "note": "naïve – ünïcode"},
        seed=3,
        vocabulary_size=5,
        tokenizer={"name": "char", "characters": "\n abé"},
        data_digest="d" * 64,
        trained_by={"code": "c" * 64, "kernels": "numba"},
        step=10,
        history=HISTORY,
        model=WEIGHTS,
        optimizer=MEANS,
    )
    return replace(whole, **changed)


def saved(folder: Path, **changed: Any) -> bytes:
    path = folder / "saved.safetensors"
    checkpoint(**changed).save(path)
    return path.read_bytes()


# --- Round trip -----------------------------------------------------------------------------------


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved(tmp_path)
    loaded, original = Checkpoint.load(tmp_path / "saved.safetensors"), checkpoint()
    for name in ("kind", "seed", "vocabulary_size", "tokenizer", "step", "history"):
        assert getattr(loaded, name) == getattr(original, name)
    assert loaded.config == original.config | {"betas": [0.9, 0.99]}  # JSON has no tuples
    assert loaded.identity == original.identity
    for ours, theirs in ((loaded.model, WEIGHTS), (loaded.optimizer, MEANS)):
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            assert ours[name].dtype == array.dtype
            np.testing.assert_array_equal(ours[name], array)


def test_saving_again_gives_the_same_bytes(tmp_path: Path) -> None:
    first = saved(tmp_path)
    assert saved(tmp_path) == first
    Checkpoint.load(tmp_path / "saved.safetensors").save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == first


def test_the_order_of_names_does_not_change_the_bytes(tmp_path: Path) -> None:
    backwards: dict[str, Any] = {
        "model": dict(reversed(WEIGHTS.items())),
        "optimizer": dict(reversed(MEANS.items())),
        "config": dict(reversed(checkpoint().config.items())),
    }
    assert saved(tmp_path, **backwards) == saved(tmp_path)


def test_saving_in_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    saved(tmp_path)
    program = (
        "import sys; from pathlib import Path; from lmladder.training.checkpoint import Checkpoint;"
        "Checkpoint.load(Path(sys.argv[1])).save(Path(sys.argv[2]))"
    )
    source, target = tmp_path / "saved.safetensors", tmp_path / "other.safetensors"
    subprocess.run(
        [sys.executable, "-c", program, str(source), str(target)],
        check=True,
        timeout=60,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert target.read_bytes() == source.read_bytes()


def test_strided_empty_and_single_arrays_come_back(tmp_path: Path) -> None:
    arrays = {
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "strided": np.arange(8, dtype=np.float32)[::-2],
        "none": np.zeros((0, 3), np.float32),
        "bytes": np.arange(3, dtype=np.uint8),
        "one": np.array([7], np.int64),
    }
    saved(tmp_path, model=arrays, optimizer={})
    loaded = Checkpoint.load(tmp_path / "saved.safetensors")
    assert loaded.optimizer == {}
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.model[name], array)
        assert loaded.model[name].dtype == array.dtype


def test_loaded_arrays_may_be_written_to(tmp_path: Path) -> None:
    saved(tmp_path)
    loaded = Checkpoint.load(tmp_path / "saved.safetensors")
    for array in (*loaded.model.values(), *loaded.optimizer.values()):
        array += 1


def test_a_checkpoint_without_arrays_comes_back(tmp_path: Path) -> None:
    saved(tmp_path, model={}, optimizer={}, history=(), step=0)
    loaded = Checkpoint.load(tmp_path / "saved.safetensors")
    assert (loaded.model, loaded.optimizer, loaded.history) == ({}, {}, ())


def test_the_tokenizer_is_restored(tmp_path: Path) -> None:
    tokenizer = checkpoint().restore_tokenizer()
    assert tokenizer.decode([4, 3]) == "éb"
    with pytest.raises(InputError, match=r"6 tokens.*5"):
        checkpoint(vocabulary_size=6).restore_tokenizer()


def test_the_model_is_restored() -> None:
    tokens = np.array([[0, 3, 4, 1]])
    (name, model), *rest = checkpoint().restore_models().items()
    assert (name, rest) == ("transformer", [])
    np.testing.assert_array_equal(model.nll(tokens), MODEL.nll(tokens))


# --- Whose run it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "mlp"},
        {"config": {"n_layer": 2}},
        {"config": checkpoint().config | {"dropout": 0.1}},
        {"seed": 4},
        {"tokenizer": {"name": "byte"}},
        {"data_digest": "e" * 64},
        {"trained_by": {"code": "e" * 64, "kernels": "numba"}},
        {"trained_by": {"code": "c" * 64, "kernels": "numpy"}},
        {"init_digest": "f" * 64},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_identity_changes_with_all_that_decides_a_run(changed: dict[str, Any]) -> None:
    assert checkpoint(**changed).identity != checkpoint().identity


def test_the_identity_does_not_change_with_how_far_a_run_is() -> None:
    begun = checkpoint(step=0, history=(), model={}, optimizer={})
    assert begun.identity == checkpoint().identity


# --- Files that are no checkpoint -----------------------------------------------------------------


def assert_refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(InputError, match=match) as caught:
        Checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def use(path: Path) -> None:
    """Load a checkpoint and all that is in it, and ask its models for a score."""
    loaded = Checkpoint.load(path)
    _ = loaded.identity
    loaded.restore_tokenizer()
    for model in loaded.restore_models().values():
        model.nll(np.array([[0, 1]]))


def assert_used_or_refused(path: Path) -> None:
    message = ""
    try:
        use(path)
    except InputError as error:
        message = str(error)
    assert "\n" not in message


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole, path = saved(tmp_path), tmp_path / "cut.safetensors"
    for twentieth in range(20):
        path.write_bytes(whole[: len(whole) * twentieth // 20])
        assert_refused(path)
    for length in (1, 7, 8, 9, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert_refused(path)
    path.write_bytes(whole + b"\0")
    assert_refused(path)


@given(data=st.data())
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
def test_changed_bytes_are_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(WHOLE) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    assume(changed != WHOLE)
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(changed)
    assert_refused(path)


@given(content=st.binary(max_size=200))
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_any_bytes_are_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(content)
    assert_refused(path)


def write_raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> None:
    """A safetensors file by hand: length of the header, the header as JSON, the numbers."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def write_metadata(path: Path, metadata: str) -> None:
    write_raw(path, {"__metadata__": {"lmladder": metadata}})


def header_of(**changed: Any) -> dict[str, Any]:
    """The metadata of a checkpoint, with some values changed; None drops one."""
    text = json.loads(WHOLE[8:HEADER_END])["__metadata__"]["lmladder"]
    header = json.loads(text) | changed
    del header["sha256"]
    return {k: v for k, v in header.items() if v is not None}


def write_with_header(path: Path, header: dict[str, Any]) -> None:
    """A whole checkpoint, arrays and all, with other metadata, which are sealed again."""
    raw = json.loads(WHOLE[8:HEADER_END])
    raw["__metadata__"]["lmladder"] = seal(header, content_of(load(WHOLE)))
    write_raw(path, raw, WHOLE[HEADER_END:])


def _whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return saved(Path(folder))


WHOLE = _whole()
HEADER_END = 8 + struct.unpack("<Q", WHOLE[:8])[0]


def test_the_file_written_by_hand_is_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "hand.safetensors"
    write_with_header(path, header_of())
    assert Checkpoint.load(path).identity == checkpoint().identity


def _array(dtype: str, shape: list[int], end: int) -> dict[str, Any]:
    return {"model.a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


FOREIGN: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("Once upon a time\n" * 50),
    "JSON": lambda path: path.write_text('{"kind": "mlp"}'),
    "a NumPy file": lambda path: np.save(path.open("wb"), np.ones(9)),
    "safetensors of others": lambda path: save_file({"a": np.ones(2)}, path),
    "safetensors of others with metadata": lambda path: save_file(
        {"a": np.ones(2)}, path, metadata={"format": "pt"}
    ),
    "bfloat16": lambda path: write_raw(path, _array("BF16", [2], 4), b"\0" * 4),
    "float8": lambda path: write_raw(path, _array("F8_E4M3", [2], 2), b"\0" * 2),
    "float4": lambda path: write_raw(path, _array("F4", [2], 1), b"\0"),
    "an unknown type": lambda path: write_raw(path, _array("X7", [2], 4), b"\0" * 4),
    "a header longer than the file": lambda path: write_raw(path, {}, length=10**6),
    "a header of 2^63 bytes": lambda path: write_raw(path, {}, length=1 << 63),
    "a huge array": lambda path: write_raw(path, _array("F32", [1 << 40, 1 << 20], 8), b"\0" * 8),
    "a huge empty array": lambda path: write_raw(path, _array("F32", [1 << 62, 0], 0)),
    "a negative size": lambda path: write_raw(path, _array("F32", [-1], 4), b"\0" * 4),
    "numbers that are not there": lambda path: write_raw(path, _array("F32", [100], 400)),
    "no metadata": lambda path: write_raw(path, {}),
    "metadata that is no JSON": lambda path: write_metadata(path, "{"),
    "metadata that is no object": lambda path: write_metadata(path, "[1, 2]"),
    "metadata that is a number": lambda path: write_metadata(path, "5"),
    "metadata nested too deep": lambda path: write_metadata(path, "[" * 100_000),
    "a number of 5000 digits": lambda path: write_metadata(path, "9" * 5000),
    "no schema": lambda path: write_with_header(path, header_of(schema=None)),
    "no kind": lambda path: write_with_header(path, header_of(kind=None)),
    "no history": lambda path: write_with_header(path, header_of(history=None)),
    "an unknown key": lambda path: write_with_header(path, header_of(odd=1)),
    "a key of ours": lambda path: write_with_header(path, header_of(model={})),
    "trained by a number": lambda path: write_with_header(path, header_of(trained_by=5)),
    "history that is a number": lambda path: write_with_header(path, header_of(history=5)),
}


@pytest.mark.parametrize("file", FOREIGN)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(file: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    FOREIGN[file](path)
    assert_refused(path)


def test_a_checkpoint_of_version_0_1_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "older.safetensors"
    write_with_header(path, header_of(schema=2, code_digest="c" * 64))
    assert_refused(path, r"has schema 2 of lmladder 0\.1; this version reads 3")


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, "1", [1], 1.5])
def test_another_schema_is_refused_and_named(schema: Any, tmp_path: Path) -> None:
    path = tmp_path / "newer.safetensors"
    write_with_header(path, header_of(schema=schema))
    assert_refused(path, f"this version reads {SCHEMA}")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path)
    assert_refused(tmp_path / "missing.safetensors", "there is no checkpoint")
    assert_refused(tmp_path / "missing" / "missing.safetensors", "there is no checkpoint")


def test_a_name_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / ("x" * 300))


WRONG_VALUES: dict[str, dict[str, Any]] = {
    "kind: number": {"kind": 5},
    "kind: list": {"kind": ["mlp"]},
    "kind: unknown": {"kind": "rnn"},
    "kind: of other arrays": {"kind": "mlp"},
    "kind: of counts": {"kind": "bigram"},
    "config: list": {"config": [1]},
    "config: text": {"config": "n_layer"},
    "config: empty": {"config": {}},
    "config: of another size": {"config": {**asdict(ARCHITECTURE), "d_model": 8}},
    "config: fewer layers": {"config": {**asdict(ARCHITECTURE), "n_layer": 0}},
    "config: no heads": {"config": {**asdict(ARCHITECTURE), "n_head": 0}},
    "config: heads that do not fit": {"config": {**asdict(ARCHITECTURE), "n_head": 3}},
    "config: no context": {"config": {**asdict(ARCHITECTURE), "context_length": 0}},
    "config: negative size": {"config": {**asdict(ARCHITECTURE), "d_model": -4}},
    "config: huge size": {"config": {**asdict(ARCHITECTURE), "d_model": 10**15}},
    "config: text for a number": {"config": {**asdict(ARCHITECTURE), "d_model": "many"}},
    "config: unknown activation": {"config": {**asdict(ARCHITECTURE), "activation": "x"}},
    "config: missing value": {"config": {"n_layer": 1}},
    "vocabulary: text": {"vocabulary_size": "many"},
    "vocabulary: negative": {"vocabulary_size": -5},
    "vocabulary: zero": {"vocabulary_size": 0},
    "vocabulary: fraction": {"vocabulary_size": 5.5},
    "vocabulary: huge": {"vocabulary_size": 10**15},
    "vocabulary: beyond 64 bits": {"vocabulary_size": 10**30},
    "tokenizer: list": {"tokenizer": []},
    "tokenizer: number": {"tokenizer": 5},
    "tokenizer: unknown": {"tokenizer": {"name": "bpe"}},
}


@pytest.mark.parametrize("case", WRONG_VALUES)
def test_a_header_that_fits_no_model_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    write_with_header(path, header_of(**WRONG_VALUES[case]))
    with pytest.raises(InputError) as caught:
        use(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [{"seed": "x"}, {"seed": -1}, {"step": "x"}, {"step": -1}, {"history": [1, 2]}],
    ids=str,
)
def test_wrong_facts_about_a_run_do_no_harm_to_its_model(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "wrong.safetensors"
    write_with_header(path, header_of(**changed))
    assert_used_or_refused(path)


def test_count_tables_that_fit_no_text_are_refused(tmp_path: Path) -> None:
    arrays = CountTables.count(np.array([0, 1, 2, 0, 1]), 5, 3).arrays()
    counting = BigramConfig(add_k=1.0, kneser_ney_orders=[3])
    whole = checkpoint(kind=COUNTS, config=asdict(counting), model=arrays, optimizer={})
    assert "kneser_ney_3" in whole.restore_models()
    spoilt: list[dict[str, Any]] = [
        {},
        {name: array for name, array in arrays.items() if name != "counts_3"},
        arrays | {"keys_1": arrays["keys_1"][::-1]},
        arrays | {"keys_2": arrays["keys_2"].astype(np.float64)},
        arrays | {"counts_2": arrays["counts_2"] * 0},
        WEIGHTS,
    ]
    for model in spoilt:
        with pytest.raises(InputError):
            replace(whole, model=model).restore_models()
    for config in ({}, {"add_k": 0.0, "kneser_ney_orders": [3]}, asdict(counting) | {"odd": 1}):
        with pytest.raises(InputError):
            replace(whole, config=config).restore_models()
    with pytest.raises(InputError, match="order 9"):
        replace(whole, config={"add_k": 1.0, "kneser_ney_orders": [9]}).restore_models()


# --- Writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved(tmp_path)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, no_space)
    with pytest.raises(RunError, match="No space left on device") as caught:
        checkpoint(step=11).save(tmp_path / "saved.safetensors")
    assert "\n" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["saved.safetensors"]
    assert (tmp_path / "saved.safetensors").read_bytes() == before


def test_saving_into_a_folder_that_is_not_there_fails_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LadderError, match=r"saved\.safetensors") as caught:
        checkpoint().save(tmp_path / "missing" / "saved.safetensors")
    assert "\n" not in str(caught.value)
