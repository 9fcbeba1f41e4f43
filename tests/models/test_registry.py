"""Kinds of models: a new one is a module of its own, and requires no other change."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmladder import models
from lmladder.evaluation import Score
from lmladder.models import KINDS, label
from lmladder.reports import Row, ladder_table
from lmladder.system.errors import InputError
from lmladder.system.settings import read
from lmladder.system.streams import stream
from lmladder.training.checkpoint import Checkpoint
from tests.models.examples import VOCABULARY, fit
from tests.models.test_contract import checkpoint

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "rung" / "bag.py"


@pytest.fixture
def my_bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The example of a kind, as a module that only the search path of lmladder.models finds."""
    text = EXAMPLE.read_text().replace("class Bag", "class MyBag")
    (tmp_path / "my_bag.py").write_text(text.replace("BagSettings,", "MyBagSettings,"))
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    yield "my_bag"
    sys.modules.pop("lmladder.models.my_bag", None)


def test_an_unlisted_kind_trains_and_has_settings_a_checkpoint_a_label_and_a_row(
    my_bag: str, tmp_path: Path
) -> None:
    schema, given = KINDS.model_settings(my_bag), {"context_length": 3, "embedding_size": 8}
    with pytest.raises(InputError, match=r"^x\.context_length must be at least 1, got 0$"):
        read(schema, given | {"context_length": 0}, "x.")
    settings: Any = read(schema, given)
    model = KINDS.component(my_bag)(settings, VOCABULARY, rng=stream(0, "weights"))
    tokens = np.tile(np.arange(VOCABULARY), (2, 1))
    fit(model, tokens, rate=0.1, steps=100)
    assert model.loss(tokens).item() < 0.1
    arrays = {name: each.value for name, each in model.parameters().items()}
    checkpoint(my_bag, settings, arrays).save(tmp_path / "checkpoint.safetensors")
    loaded = Checkpoint.load(tmp_path / "checkpoint.safetensors")
    (restored,) = loaded.restore_models().values()
    np.testing.assert_array_equal(restored.nll(tokens), model.nll(tokens))
    row = Row("my_bag", "val", Score(9, 9, 5.0), model.n_parameters, 100, kind=loaded.kind)
    assert ladder_table([row])["label"].tolist() == ["My bag"]


def test_an_unknown_kind_is_rejected_in_one_line_that_names_the_known_ones() -> None:
    known = "choose from counts, mlp, rnn, gru, transformer, mixture, oracle"
    for kind, hint in (("lstm", known), ("no/name", known), ("grus", "did you mean 'gru'?")):
        for look_up in (KINDS.settings, KINDS.component, lambda kind: label("model", kind)):
            with pytest.raises(InputError) as caught:
                look_up(kind)
            assert str(caught.value) == f"unknown kind of rung {kind!r}; {hint}"
