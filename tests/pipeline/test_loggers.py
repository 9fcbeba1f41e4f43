"""Loggers of other programs; `tensorboardX` and `mlflow` are replaced by records of their calls."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lmladder.config.schema import LoggerSettings
from lmladder.pipeline.loggers import logged
from lmladder.system.errors import InputError

import pytest

STATE: Any = SimpleNamespace(step=4, history=[{"step": 4, "val_loss": 2.5, "weights_digest": "0a"}])


class Writer:
    """What `logged` calls of a writer of TensorBoard."""

    made: list["Writer"]

    def __init__(self, folder: str):
        self.folder, self.scalars = folder, []
        Writer.made.append(self)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None: ...

    def add_text(self, name: str, text: str) -> None: ...

    def add_scalar(self, *scalar: Any) -> None:
        self.scalars.append(scalar)

    def flush(self) -> None: ...


def test_tensorboard_receives_the_numbers_of_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    Writer.made = []
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    settings = LoggerSettings("tensorboard", "logs")
    with logged(settings, Path("outputs/mlp"), {"seed": 0}) as log:
        log(STATE)
    (writer,) = Writer.made
    assert (writer.folder, writer.scalars) == ("logs/outputs/mlp", [("val_loss", 2.5, 4)])


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


def test_without_a_logger_nothing_happens() -> None:
    with logged(LoggerSettings(), Path("mlp"), {}) as log:
        log(STATE)
