"""Loggers of other programs, which show a training run while it continues.

They receive the losses and norms of the history and change no result. `logger._target_` names one:
any callable that takes `run`, the folder of the run, `settings`, its settings by dotted key, and
the other keys of `logger`. It returns a context manager of a function of a step and its values.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint

from hydra.utils import instantiate

Log = Callable[[Checkpoint], None]


@contextmanager
def logged(logger: Any, out: Path, settings: dict[str, Any]) -> Iterator[Log]:
    """Yield a function that sends the last row of a history to the logger, if there is one.

    Raises InputError if the logger does not start, for example because it is not installed.
    """
    with ExitStack() as stack:
        log: Any = lambda step, values: None  # noqa: E731
        try:
            if logger:
                made = instantiate(logger, _partial_=True)(run=str(out), settings=settings)
                log = stack.enter_context(made)
        except Exception as error:  # of another program
            reason = str(error.__cause__ or error).partition("\n")[0]
            raise InputError(f"logger._target_={logger.get('_target_')}: {reason}") from error
        yield lambda state: log(
            state.step, {k: v for k, v in state.history[-1].items() if isinstance(v, float)}
        )


@contextmanager
def tensorboard(location: str, run: str, settings: Mapping[str, Any]) -> Iterator[Any]:
    """Write files for TensorBoard to a folder below `location`."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(Path(location, run))) as writer:
        writer.add_text("settings", "\n".join(f"    {k}={v}" for k, v in settings.items()))

        def log(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)
            writer.flush()

        yield log
