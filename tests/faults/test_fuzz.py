"""Reading any file ends in a result or in one line: no other exception.

Changed bits are rejected by a seal (test_bits.py). Here files are wrong on purpose: sealed and
well-formed, but not as any program of ours would write them. FUZZ=20 tries 20 times as many.
"""

import json
import os
import resource
import shutil
from collections import Counter
from pathlib import Path

from lmladder.interop import read_model
from lmladder.models import restore_models
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint
from tests.faults.examples import small_model

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = 60 * int(os.environ.get("FUZZ", "1"))
BYTES = 1 << 32  # of address space, beyond what the process has when a test begins
numbers = st.integers() | st.floats() | st.sampled_from([0, 1, 2, 3, 2**31, 10**15, 10**30])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def changed(fields, data):
    """Return the same JSON with one value, at any depth, replaced, removed or renamed."""
    if isinstance(fields, dict) and fields and data.draw(st.integers(0, 4)):
        key = data.draw(st.sampled_from(sorted(fields)))
        rest = {name: value for name, value in fields.items() if name != key}
        action = data.draw(st.sampled_from(["inside", "inside", "inside", "remove", "rename"]))
        if action == "remove":
            return rest
        if action == "rename":
            return rest | {data.draw(st.text(max_size=5)): fields[key]}
        return rest | {key: changed(fields[key], data)}
    if isinstance(fields, list) and fields and data.draw(st.booleans()):
        index = data.draw(st.integers(0, len(fields) - 1))
        return [*fields[:index], changed(fields[index], data), *fields[index + 1 :]]
    return data.draw(values)


def perhaps_changed(fields, data):
    """Return the same JSON, in nine of ten cases with a change."""
    return changed(fields, data) if data.draw(st.integers(0, 9)) else fields


def change_json(path, data):
    path.write_text(json.dumps(perhaps_changed(json.loads(path.read_text()), data)))


def change_bytes(path, data):
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, min(len(content), 4000) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(content[: data.draw(st.integers(0, len(content))) or None])


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """Raise MemoryError for much more memory than is in use."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a file or folder of each kind."""
    folder = tmp_path_factory.mktemp("fuzz") / "whole"
    folder.mkdir()
    small_model(folder / "weights.json", "tiny-lm")
    small_model(folder / "gpt2", "gpt2")
    (folder / "into").mkdir()
    return folder


def import_into(folder, source):
    """Import a model as `lmladder import` does: there is a whole file in the end, or none."""
    target = folder / "into/checkpoint.safetensors"
    read_model(source).save(target)
    (model,) = restore_models(Checkpoint.load(target)).values()
    assert model.nll(np.array([[0, 1, 0]])).shape == (1, 2)


def read_tiny_lm(folder, data):
    change_json(folder / "weights.json", data)
    import_into(folder, folder / "weights.json")


def read_gpt2(folder, data):
    path = data.draw(st.sampled_from(sorted((folder / "gpt2").iterdir())))
    known = path.name in ("config.json", "tokenizer.json")
    (change_json if known and data.draw(st.booleans()) else change_bytes)(path, data)
    import_into(folder, folder / "gpt2")


READERS = {
    "tiny-lm": read_tiny_lm,
    "gpt2": read_gpt2,
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
@pytest.mark.parametrize("name", READERS)
def test_a_file_with_any_content_is_read_or_rejected(name, whole, tmp_path):
    outcomes, folder = Counter(), tmp_path / "example"

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
    )
    @given(data=st.data())
    def check(data):
        shutil.copytree(whole, folder)
        try:
            READERS[name](folder, data)
            outcomes["read"] += 1
        except InputError:
            outcomes["rejected"] += 1
            assert os.listdir(folder / "into") == []
        finally:
            shutil.rmtree(folder)

    check()
    assert outcomes["read"] > 0
    assert outcomes["rejected"] > 0
