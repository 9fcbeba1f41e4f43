"""Loggers of other programs, which Hydra instantiates from the files of conf/logger."""

import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from lmladder.pipeline.loggers import logged
from lmladder.system.errors import InputError

import pytest
import yaml

CONF = Path(__file__).resolve().parents[2] / "conf/logger"
STATE: Any = SimpleNamespace(step=4, history=[{"step": 4, "val_loss": 2.5, "weights_digest": "0a"}])
RECEIVED = []


@contextmanager
def own(run, settings, note):
    RECEIVED.append((run, settings, note))
    yield lambda step, values: RECEIVED.append((step, values))


def chosen(name):
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())


def test_a_logger_receives_the_numbers_of_each_row(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", package := MagicMock())
    monkeypatch.setitem(sys.modules, "own_logger", sys.modules[__name__])
    own_settings = {"_target_": "own_logger.own", "note": "hi"}
    for settings in (chosen("tensorboard"), own_settings, None):
        with logged(settings, Path("outputs/mlp"), {"seed": 0}) as log:
            log(STATE)
    made = package.SummaryWriter
    made.assert_called_once_with("outputs/logs/tensorboard/outputs/mlp")
    writer = made.return_value.__enter__.return_value
    writer.add_scalar.assert_called_once_with("val_loss", 2.5, 4)
    assert RECEIVED == [("outputs/mlp", {"seed": 0}, "hi"), (4, {"val_loss": 2.5})]


@pytest.mark.parametrize(
    "settings", [chosen("tensorboard"), {"_target_": "no.such"}, {"a": 1}], ids=str
)
def test_a_logger_that_does_not_start_is_one_line(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with (
        pytest.raises(InputError, match=rf"^logger\._target_={settings.get('_target_')}: "),
        logged(settings, Path("mlp"), {}),
    ):
        pass
