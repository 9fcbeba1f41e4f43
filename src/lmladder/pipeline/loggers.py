"""Loggers of other programs, which show a training run while it continues.

They receive the rows of the history and change no result.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from lmladder.config.schema import LoggerSettings
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint

Log = Callable[[Checkpoint], None]


@contextmanager
def logged(settings: LoggerSettings, out: Path, facts: Mapping[str, Any]) -> Iterator[Log]:
    """Yield a function that sends the last row of a history to the logger, if there is one.

    Parameters
    ----------
    out : the folder of the run, which names it
    facts : settings of the run, by dotted key

    Raises
    ------
    InputError
        If the package of the logger is not installed, or MLflow cannot use the location.
    """
    match settings.name:
        case "tensorboard":
            folder = Path(settings.location) / out
            with _package("tensorboardX", settings).SummaryWriter(str(folder)) as writer:
                writer.add_text("settings", "\n".join(f"    {k}={v}" for k, v in facts.items()))

                def log(state: Checkpoint) -> None:
                    for name, value in _numbers(state).items():
                        writer.add_scalar(name, value, state.step)
                    writer.flush()

                yield log
        case "mlflow":
            mlflow = _package("mlflow", settings)
            if settings.location.startswith("sqlite:///"):
                Path(settings.location.removeprefix("sqlite:///")).parent.mkdir(
                    parents=True, exist_ok=True
                )
            try:
                mlflow.set_tracking_uri(settings.location)
                mlflow.set_experiment("lmladder")
            except mlflow.MlflowException as error:
                why = str(error).splitlines()[0]
                raise InputError(f"logger.location={settings.location}: {why}") from None
            with mlflow.start_run(run_name=str(out)):
                mlflow.log_params(dict(facts))
                yield lambda state: mlflow.log_metrics(_numbers(state), step=state.step)
        case _:
            yield lambda state: None


def _numbers(state: Checkpoint) -> dict[str, float]:
    row = state.history[-1]
    return {name: value for name, value in row.items() if isinstance(value, float)}


def _package(name: str, settings: LoggerSettings) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise InputError(
            f"logger={settings.name} needs the package {name}: "
            f"pip install 'lmladder[{settings.name}]'"
        ) from None
