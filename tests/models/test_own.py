"""Kinds of one's own: from a file or an installed package, never by the name in a checkpoint."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lmladder.data import CharTokenizer
from lmladder.experiments.jobs import run_digest
from lmladder.models import KINDS, kind_named, restore_models, rung_settings
from lmladder.models.own import load_files
from lmladder.system.errors import InputError
from lmladder.system.settings import validate
from lmladder.training.checkpoint import Checkpoint
from tests.models.examples import RUNGS, VOCABULARY, draw
from tests.models.test_contract import checkpoint

import numpy as np
import pytest

TOKENIZER = CharTokenizer("abcdefghijk")
COUNTING = """
from lmladder.models import NeuralLanguageModel
from lmladder.models.guests import ByContext
from lmladder.system.settings import Settings
from pydantic import Field
import numpy as np


class MyUnigramSettings(Settings):
    add: float = Field(gt=0, description="pseudocount")


class MyUnigram(ByContext):
    Settings = MyUnigramSettings
    context_length = 0

    @staticmethod
    def learn(settings, tokens, vocabulary_size):
        return {"counts": np.bincount(tokens, minlength=vocabulary_size)}

    def __init__(self, settings, vocabulary_size, arrays):
        self.vocabulary_size = self.n_parameters = vocabulary_size
        counts = arrays["counts"] + settings.add
        self.logs = np.log(counts / counts.sum())

    def after(self, context):
        return self.logs
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name, kind in KINDS.items() if kind.source is not None]:
        monkeypatch.delitem(KINDS, name)
    (path := tmp_path / "my_unigram.py").write_text(COUNTING)
    return path


def counted() -> Checkpoint:
    kind = kind_named("my_unigram")
    settings = validate(kind.Settings, {"add": 0.5})
    prepared: Any = SimpleNamespace(train=draw("text", 400).astype(np.uint8), tokenizer=TOKENIZER)
    return kind.fit(checkpoint("my_unigram", settings, {}), settings, prepared, Path())


def test_a_kind_is_fitted_by_a_function_of_its_own_and_restored_from_its_checkpoint(
    file: Path, tmp_path: Path
) -> None:
    load_files([file])
    with pytest.raises(InputError, match=r"^x\.add must be more than 0, got 0"):
        validate(rung_settings("my_unigram"), {"kind": "my_unigram", "add": 0}, "x")
    counted().save(tmp_path / "checkpoint.safetensors")
    loaded = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    (model,) = restore_models(loaded).values()
    expected = np.bincount(draw("text", 400), minlength=VOCABULARY) + 0.5
    found = np.exp(model.next_log_probabilities(draw("tokens", 1, 3)))
    np.testing.assert_allclose(found, expected[None] / expected.sum())


def test_the_name_in_a_checkpoint_loads_no_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_files([file])
    saved = counted()
    del KINDS["my_unigram"]
    mark = tmp_path / "executed"
    file.write_text(f"open({str(mark)!r}, 'w')\n{COUNTING}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"unknown kind of rung 'my_unigram'.*--module FILE"):
        restore_models(saved)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (COUNTING, "x = 1\nimport nothing_of_the_kind", "at line 2: No module named 'nothing_of"),
        ("MyUnigram", "Mlp", "the kind 'mlp' is built in; rename the class"),
        ("(Settings)", "", r"MyUnigram\.Settings must be a Pydantic model"),
        ("MyUnigram(ByContext)", "MyUnigram(NeuralLanguageModel)", "MyUnigram must define hidden$"),
    ],
)
def test_a_mistake_in_a_file_is_named_in_one_line(
    file: Path, old: str, new: str, message: str
) -> None:
    file.write_text(COUNTING.replace(old, new))
    with pytest.raises(InputError, match=message):
        load_files([file])
    assert "my_unigram" not in KINDS


def test_arrays_and_settings_that_do_not_fit_are_named(file: Path) -> None:
    load_files([file])
    saved = counted()
    with pytest.raises(InputError, match=r"does not fit .*the array 'counts' is missing"):
        restore_models(checkpoint("my_unigram", KINDS["my_unigram"].Settings(add=1.0), {}))
    for right, wrong, message in [
        ("context_length", "contexts", "MyUnigram must have the attribute context_length"),
        ("np.bincount(tokens, minlength=vocabulary_size)", "{1, 2}", "'counts' is not an array"),
        ("counts.sum())", "counts.sum())[1:]", r"have the shape \(1, 2, 10\), not \(1, 2, 11\)"),
    ]:
        file.write_text(COUNTING.replace(right, wrong))
        load_files([file])
        with pytest.raises(InputError, match=message):
            counted()
    load_files([RUNGS / "lstm.py"])
    training = SimpleNamespace(sequence_length=5)
    facts: Any = {"context_length": 4, "embedding_size": 2, "hidden_size": 2}
    longer, prepared = SimpleNamespace(**facts, training=training), Any
    with pytest.raises(InputError, match=r": .*sequence_length=5 is more than max_length=4"):
        KINDS["lstm"].fit(saved, longer, prepared, file)


def test_the_code_of_a_file_is_a_part_of_the_identity(file: Path) -> None:
    digests = []
    for source in (COUNTING, f"# said\n{COUNTING}", COUNTING.replace("+ settings", "/ settings")):
        file.write_text(source)  # within a second, the last with as many characters as the first
        load_files([file])
        digests.append(run_digest("rung", "my_unigram"))
    assert digests[0] == digests[1] != digests[2]
    (model,) = restore_models(counted()).values()  # of the last version, which adds nothing
    counts = np.bincount(draw("text", 400), minlength=VOCABULARY)
    np.testing.assert_allclose(np.exp(model.logs), counts / 400)  # type: ignore[attr-defined]


def test_an_installed_package_declares_a_kind(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "my_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Name: my_package\nVersion: 1.0\n")
    lines = "[lmladder.rungs]\nmy_unigram = my_package_rung\nanother = my_package_rung\n"
    (facts / "entry_points.txt").write_text(lines)
    file.rename(tmp_path / "my_package_rung.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(restore_models(counted())) == 1
    assert KINDS["my_unigram"].source == tmp_path / "my_package_rung.py"
    with pytest.raises(InputError, match="kind of rung 'another', but defines my_unigram"):
        kind_named("another")
    with pytest.raises(InputError, match="unknown kind of rung 'third'"):
        kind_named("third")
