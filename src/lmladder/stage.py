"""What the five stage scripts share: the door, and how they fail.

A stage is a function of the typed configuration and the folder it writes to. `@stage` puts Hydra in
front of it: `python stages/x.py -cn pipeline` reads params.yaml for DVC, `python stages/x.py [-m]
overrides` composes conf/ for people. A mistake in the input ends in one line and exit status 2, a
run that fails in one line and status 1.
"""

import functools
import json
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from lmladder import environment, kernels
from lmladder.atomic import atomic_write
from lmladder.config import Config, one_line, typed
from lmladder.errors import InputError, LadderError, RunError
from lmladder.interrupt import exit_status
from lmladder.locking import locked

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

OUTPUTS = Path("outputs")
PREPARED = OUTPUTS / "prepare"
PERFORMANCE = "performance.json"
ENVIRONMENT = "environment.json"

# What Hydra raises for a configuration that cannot be composed.
CONFIGURATION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)

Stage: TypeAlias = Callable[[Config, Path], float | None]


def stage(function: Stage) -> Callable[[], None]:
    """A stage's main program.

    The function takes the configuration and the run's folder, which exists and no other process is
    at work in, and returns how many tokens it worked through a second, or None; that goes to
    performance.json with time and memory, and what machine it was to environment.json.
    """

    begun = False

    @functools.wraps(function)
    def task(node: DictConfig) -> None:
        nonlocal begun
        begun = True
        out = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
        started = time.perf_counter()
        try:
            config = typed(node)
            kernels.set_threads(config.runtime.threads)
            with locked(out):
                speed = function(config, out)
                _write_facts(out, time.perf_counter() - started, speed)
        except LadderError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # the other jobs of a sweep go on
            _fail(error)

    door = hydra.main(version_base="1.3", config_path="../conf", config_name="config")(task)

    def main() -> None:
        # A loss that diverges is reported in a line of its own, which names the step.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="lmladder")
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, not to Hydra's own report
        try:
            door()
        except LadderError as error:
            _fail(error)
        except CONFIGURATION_ERRORS as error:
            if begun:
                raise  # our own mistake, not the user's
            _fail(InputError(f"configuration: {one_line(error)}"))
        except (OSError, MemoryError) as error:  # such as a folder that Hydra may not make
            if isinstance(error, OSError) and error.errno is None and not begun:
                _fail(InputError(f"configuration: {one_line(error)}"))  # OmegaConf: no mapping
            _fail(RunError(str(error) or "out of memory"))
        except KeyboardInterrupt as interrupt:
            print(
                "interrupted; a run in the same folder goes on from its last checkpoint",
                file=sys.stderr,
            )
            sys.exit(exit_status(interrupt))

    return main


def _fail(error: LadderError) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


def _write_facts(out: Path, seconds: float, tokens_per_second: float | None) -> None:
    """Facts of this run and this machine; no outs of DVC, as they change with every one."""
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        peak_kib //= 1024  # bytes there
    finite = tokens_per_second is not None and math.isfinite(tokens_per_second)
    facts = {
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens_per_second) if finite and tokens_per_second else None,
        "peak_memory_mb": round(peak_kib / 1024),
    }
    write_json(out / PERFORMANCE, facts)
    write_json(out / ENVIRONMENT, environment.describe())


def write_json(path: Path, value: Any) -> None:
    """Indented and sorted: the same values give the same bytes, and git shows what changed."""
    atomic_write(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def data_settings(config: Config) -> dict[str, Any]:
    """What the prepared text depends on, as corpus.json keeps it."""
    settings = {"data": asdict(config.data), "tokenizer": asdict(config.tokenizer)}
    del settings["data"]["prompt"]
    return settings
