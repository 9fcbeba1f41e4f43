"""Loggers of other programs; `tensorboardX` and `mlflow` are replaced by records of their calls."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from lmladder.config.schema import LoggerSettings
from lmladder.pipeline.loggers import logged
from lmladder.system.errors import InputError

import pytest

STATE: Any = SimpleNamespace(step=4, history=[{"step": 4, "val_loss": 2.5, "weights_digest": "0a"}])


def test_tensorboard_receives_the_numbers_of_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    made = MagicMock()
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=made))
    settings = LoggerSettings("tensorboard", "logs")
    with logged(settings, Path("outputs/mlp"), {"seed": 0}) as log:
        log(STATE)
    made.assert_called_once_with("logs/outputs/mlp")
    writer = made.return_value.__enter__.return_value
    writer.add_scalar.assert_called_once_with("val_loss", 2.5, 4)


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboardX"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_named(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    wrong = pytest.raises(InputError, match=f"logger={name} needs the package {package}")
    with wrong, logged(LoggerSettings(name), Path("mlp"), {}):
        pass


def test_a_location_that_mlflow_cannot_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = MagicMock(MlflowException=OSError)
    mlflow.set_experiment.side_effect = OSError("no such store\nand more")
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    wrong = pytest.raises(InputError, match=r"^logger\.location=runs: no such store$")
    with wrong, logged(LoggerSettings("mlflow", "runs"), Path("mlp"), {}):
        pass


def test_without_a_logger_nothing_happens() -> None:
    with logged(LoggerSettings(), Path("mlp"), {}) as log:
        log(STATE)
