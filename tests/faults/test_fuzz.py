"""Whatever a file holds, reading it ends in a result or in one line: no hang, no other exception.

Bits that have changed are refused by their seal (test_bits.py). Here files are wrong on purpose, as
if someone had written them so: sealed, well-formed, and full of nonsense.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from lmladder.checkpoint import Checkpoint, content_of
from lmladder.config import Config, TokenizerConfig, one_line, typed
from lmladder.errors import InputError
from lmladder.sealing import seal
from lmladder.stage import CONFIGURATION_ERRORS
from lmladder.text.tokenizers import TOKENIZERS, build_tokenizer, tokenizer_from_json
from tests.faults.test_bits import checkpoint

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[2]
PARAMS = (ROOT / "params.yaml").read_text()

bounded = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, phases=[Phase.generate]
)
numbers = st.integers() | st.floats() | st.sampled_from([0, 1, 2, 3, 2**31, 10**15, 10**30])
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def changed(fields: Any, data: st.DataObject) -> Any:
    """The same JSON with one value, at any depth, replaced, removed or added."""
    if isinstance(fields, dict) and fields and data.draw(st.integers(0, 4)):
        key = data.draw(st.sampled_from(sorted(fields)))
        what = data.draw(st.sampled_from(["inside", "inside", "inside", "remove", "rename"]))
        rest = {name: value for name, value in fields.items() if name != key}
        if what == "remove":
            return rest
        if what == "rename":
            return rest | {data.draw(st.text(max_size=5)): fields[key]}
        return rest | {key: changed(fields[key], data)}
    if isinstance(fields, list) and fields and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(fields) - 1))
        return [*fields[:place], changed(fields[place], data), *fields[place + 1 :]]
    return data.draw(values)


@contextlib.contextmanager
def refused_or_fine() -> Any:
    try:
        yield
    except InputError as error:
        told = str(error)
    else:
        return
    assert told
    assert "\n" not in told


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and arrays of a small checkpoint."""
    path = tmp_path_factory.mktemp("fuzz") / "checkpoint.safetensors"
    checkpoint(path)
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["lmladder"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header["sha256"]
    return header, arrays


@bounded
@given(data=st.data())
def test_a_checkpoint_of_anything_is_refused_or_works(
    data: st.DataObject,
    parts: tuple[dict[str, Any], dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    header, arrays = parts
    header = changed(header, data)
    if data.draw(st.booleans()):
        names = st.sampled_from(sorted(arrays))
        arrays = arrays | {data.draw(names): np.zeros(data.draw(st.integers(0, 9)), np.float32)}
    if not isinstance(header, dict):
        header = {"schema": header}
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(save(arrays, metadata={"lmladder": seal(header, content_of(arrays))}))
    with refused_or_fine():
        loaded = Checkpoint.load(path)
        _ = loaded.fingerprint
        loaded.restore_tokenizer()
        for model in loaded.restore_models().values():
            assert np.isfinite(model.nats(np.array([[0, 1, 2]]))).all()


def described(name: str) -> dict[str, Any]:
    options = {"bpe": (260, None), "word": (None, "unk")}.get(name, (None, None))
    config = TokenizerConfig(name, *options)
    return build_tokenizer(config, [["a cat and a cat\n"]], boundary="\n").to_json()


DESCRIBED = {name: described(name) for name in TOKENIZERS}


@bounded
@given(data=st.data(), name=st.sampled_from(sorted(TOKENIZERS)))
def test_a_tokenizer_of_anything_is_refused_or_works(data: st.DataObject, name: str) -> None:
    with refused_or_fine():
        tokenizer = tokenizer_from_json(changed(DESCRIBED[name], data))
        assert tokenizer_from_json(tokenizer.to_json()).to_json() == tokenizer.to_json()
        ids = tokenizer.encode("a cat")
        assert ids.max() < tokenizer.vocabulary_size
        assert "<unk>" in tokenizer.decode(ids) or tokenizer.decode(ids) == "a cat"


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """params.yaml with a few lines that are gone, doubled, swapped or have other values."""
    lines = PARAMS.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[place].partition(":")
        value = draw(st.text(max_size=8) | values.map(json.dumps))
        lines[place : place + 1] = draw(
            st.sampled_from([[], [lines[place]] * 2, [value], *[[f"{key}{colon} {value}"]] * 5])
        )
    return "\n".join(lines) + "\n"


@settings(bounded, max_examples=40)
@given(text=spoilt() | st.text(max_size=50))
def test_a_params_yaml_of_anything_is_refused_or_a_whole_configuration(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("params")
    (folder / "params.yaml").write_text(text, encoding="utf-8", errors="replace")
    with refused_or_fine(), contextlib.chdir(folder):
        try:
            with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
                node = compose("pipeline")
        except (*CONFIGURATION_ERRORS, OSError) as error:  # as a stage does
            raise InputError(one_line(error)) from None
        config = typed(node)
        assert isinstance(config, Config)
    assert os.listdir(folder) == ["params.yaml"]
