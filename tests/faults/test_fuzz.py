"""Whatever a file holds, reading it ends in a result or in one line: no hang, no other exception.

Bits that have changed are refused by their seal (test_bits.py). Here files are wrong on purpose, as
if someone had written them so: sealed, well-formed, and full of nonsense. `pytest -s` on this file
prints how many were tried; FUZZ=20 before it tries twenty times as many.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmladder.config import Config, TokenizerConfig, one_line, typed
from lmladder.data.tokenizers import TOKENIZERS, build_tokenizer, tokenizer_from_json
from lmladder.experiments import find_runs
from lmladder.interop import FORMATS
from lmladder.stage import CONFIGURATION_ERRORS
from lmladder.system.errors import InputError
from lmladder.system.sealing import seal
from lmladder.training.checkpoint import Checkpoint, content_of
from tests.experiments.folders import write_finished, write_run
from tests.faults.test_bits import checkpoint
from tests.faults.test_hostile import small

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[2]
PARAMS = (ROOT / "params.yaml").read_text()

TIMES = int(os.environ.get("FUZZ", "1"))
bounded = settings(
    max_examples=150 * TIMES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
)
SECONDS = 60  # that reading one small file may take on a busy machine; it takes milliseconds
BYTES = 1 << 32  # of address space, beyond what the process has when a test begins
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


def perhaps_changed(fields: Any, data: st.DataObject) -> Any:
    """Changed, or now and then as it was: what refuses everything is not seen to work."""
    return changed(fields, data) if data.draw(st.integers(0, 9)) else fields


counts: Counter[tuple[str, str]] = Counter()


@pytest.fixture(scope="module", autouse=True)
def told() -> Iterator[None]:
    """Tells at the end how many files were tried, of which kind: there must be some of either."""
    yield
    for kind in sorted({kind for kind, _ in counts}):
        refused, fine = counts[kind, "refused"], counts[kind, "fine"]
        print(f"\n{refused + fine:,} of {kind}: {refused:,} refused, {fine:,} read", end="")
        assert refused
        assert fine


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """Whoever asks for much more memory than there was in use gets a MemoryError."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def hangs(signal_number: int, frame: object) -> None:
    raise AssertionError(f"not done after {SECONDS} seconds")


@contextlib.contextmanager
def refused_or_fine(kind: str) -> Iterator[None]:
    """The block ends, in time, or raises an InputError of one line; either is counted."""
    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        yield
        counts[kind, "fine"] += 1
    except InputError as error:
        counts[kind, "refused"] += 1
        message = str(error)
    else:
        return
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert message
    assert "\n" not in message


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
    header = perhaps_changed(header, data)
    if data.draw(st.booleans()):
        names = st.sampled_from(sorted(arrays))
        arrays = arrays | {data.draw(names): np.zeros(data.draw(st.integers(0, 9)), np.float32)}
    if not isinstance(header, dict):
        header = {"schema": header}
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(save(arrays, metadata={"lmladder": seal(header, content_of(arrays))}))
    with refused_or_fine("checkpoints"):
        loaded = Checkpoint.load(path)
        _ = loaded.identity
        loaded.restore_tokenizer()
        for model in loaded.restore_models().values():
            assert np.isfinite(model.nll(np.array([[0, 1, 2]]))).all()


def described(name: str) -> dict[str, Any]:
    options = {"bpe": (260, None), "word": (None, "unk")}.get(name, (None, None))
    config = TokenizerConfig(name, *options)
    return build_tokenizer(config, [["a cat and a cat\n"]], boundary="\n").to_json()


DESCRIBED = {name: described(name) for name in TOKENIZERS}


@bounded
@given(data=st.data(), name=st.sampled_from(sorted(TOKENIZERS)))
def test_a_tokenizer_of_anything_is_refused_or_works(data: st.DataObject, name: str) -> None:
    with refused_or_fine("tokenizers"):
        tokenizer = tokenizer_from_json(perhaps_changed(DESCRIBED[name], data))
        assert tokenizer_from_json(tokenizer.to_json()).to_json() == tokenizer.to_json()
        ids = tokenizer.encode("a cat")
        assert ids.max() < tokenizer.vocabulary_size
        assert "<unk>" in tokenizer.decode(ids) or tokenizer.decode(ids) == "a cat"


likely = st.sampled_from(["1", "2", "0.5", "0.001", "true", "null", "[64, 64]", "tales"])


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """params.yaml with a few lines that are gone, doubled, swapped or have other values."""
    lines = PARAMS.splitlines()
    only_values = draw(st.booleans())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[place].partition(":")
        value = draw(likely if only_values else st.text(max_size=8) | values.map(json.dumps))
        other = [f"{key}{colon} {value}"]
        torn = st.sampled_from([[], [lines[place]] * 2, [value], other])
        lines[place : place + 1] = other if only_values else draw(torn)
    return "\n".join(lines) + "\n"


@settings(bounded, max_examples=40 * TIMES)
@given(text=spoilt() | st.text(max_size=50))
def test_a_params_yaml_of_anything_is_refused_or_a_whole_configuration(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("params")
    (folder / "params.yaml").write_text(text, encoding="utf-8", errors="replace")
    with refused_or_fine("configurations"), contextlib.chdir(folder):
        try:
            with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
                node = compose("pipeline")
        except (*CONFIGURATION_ERRORS, OSError) as error:  # as a stage does
            raise InputError(one_line(error)) from None
        config = typed(node)
        assert isinstance(config, Config)
    assert os.listdir(folder) == ["params.yaml"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON weights of a small Transformer."""
    path = small(tmp_path_factory.mktemp("tiny") / "weights.json", "tiny-lm")
    return json.loads(path.read_text())


def imported(kind: str, source: Path, target: Path) -> None:
    """What `lmladder import` does; there is a whole file in the end, or none."""
    with refused_or_fine(kind):
        read, _ = FORMATS[kind].read(source)
        read.save(target)
        (model,) = Checkpoint.load(target).restore_models().values()
        assert model.nll(np.array([[0, 1, 0]])).shape == (1, 2)
    assert os.listdir(target.parent) in ([], [target.name])


@bounded
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
def test_json_weights_of_anything_are_refused_or_work(
    data: st.DataObject, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "into").mkdir()
    (folder / "weights.json").write_text(json.dumps(perhaps_changed(tiny, data)))
    imported("tiny-lm", folder / "weights.json", folder / "into/checkpoint.safetensors")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("gpt2") / "model", "gpt2")


@bounded
@given(data=st.data(), name=st.sampled_from(["config.json", "tokenizer.json"]))
def test_a_gpt2_folder_of_anything_is_refused_or_works(
    data: st.DataObject, name: str, gpt2: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("gpt2")
    (folder / "into").mkdir()
    path = shutil.copytree(gpt2, folder / "model") / name
    path.write_text(json.dumps(perhaps_changed(json.loads(path.read_text()), data)))
    imported("gpt2", folder / "model", folder / "into/checkpoint.safetensors")


RUN_FILES = [
    "metrics.json", ".hydra/config.yaml", "finished.json", "environment.json",
    "checkpoint.safetensors",
]  # fmt: skip


@bounded
@given(data=st.data())
def test_a_run_of_anything_is_left_out_or_compared(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = write_run(tmp_path_factory.mktemp("runs") / "run", 0.5)
    write_finished(folder)
    name = data.draw(st.sampled_from(RUN_FILES))
    path = folder / name
    if path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            header = perhaps_changed(json.loads(file.metadata()["lmladder"]), data)
        path.write_bytes(save({}, metadata={"lmladder": json.dumps(header)}))
    else:
        fields = yaml.safe_load(path.read_text())  # JSON is YAML
        path.write_text(json.dumps(perhaps_changed(fields, data)))
    for record in data.draw(st.sets(st.sampled_from(["finished.json", "checkpoint.safetensors"]))):
        (folder / record).unlink()  # what it would contradict is then read
    with refused_or_fine("runs"):
        (run,) = find_runs([folder]).runs
        assert np.isfinite([*run.scores.values()]).all()
