"""Compose conf/ and overrides into params.yaml, which the pipeline reads.

    python stages/compose.py [--config-dir FOLDER] [override ...]

This is not a stage: run it after a change in conf/, then `dvc repro`. `dvc exp run -S ...` composes
the same bytes itself.
"""

import argparse
import contextlib
import os
import re
import sys
from pathlib import Path

from lmladder.config import Config
from lmladder.config.composing import arguments, composed, validated
from lmladder.experiments.jobs import NAMED
from lmladder.system.errors import InputError, LadderError
from lmladder.system.files import atomic_write
from lmladder.system.settings import dotted

from omegaconf import OmegaConf

RUNNING = Path(".dvc/tmp/rwlock")
CONF = Path(__file__).resolve().parent.parent / "conf"


def composition(overrides: list[str]) -> str:
    """Return the resolved configuration as YAML.

    Raises
    ------
    InputError
        If a key is unknown, or a value is of the wrong type, missing, out of range or the name of a
        missing file.
    """
    node = composed(CONF, overrides)
    require_watched(validated(node))
    OmegaConf.resolve(node)
    return OmegaConf.to_yaml(node)


def require_watched(config: Config) -> None:
    """Raise InputError for a file that is missing, or that DVC would not see change."""
    settings = dotted(config.model_dump())
    if config.data.corpus == "download":  # which is checked by its sha256
        del settings["data.path"]
    for key, name in settings.items():
        last = key.rpartition(".")[2]
        if last not in NAMED or name is None:
            continue
        path = CONF.parent / name
        if not (path.is_file() if key == "data.path" else path.exists()):
            raise InputError(f"{key}: there is no file {name}")
        # What stages depend on in dvc.yaml.
        folder = "data" if key == "data.path" else "." if last == "watch" else "models"
        if not path.resolve().is_relative_to((CONF.parent / folder).resolve()):
            raise InputError(f"{key}={name} must be in {folder}/, where DVC sees that it changes")


def require_idle() -> None:
    """Raise InputError if DVC is running a stage here, for which it would record new settings.

    DVC lists the processes that run stages in a file.
    """
    with contextlib.suppress(OSError):
        for pid in set(re.findall(r'"pid": ?(\d+)', RUNNING.read_text(encoding="utf-8"))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 0)
                raise InputError(f"process {pid} is running a stage here; wait until it has ended")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("overrides", nargs="*", help="such as transformer.n_layer=3 data=names")
    parser.add_argument("--config-dir", type=Path, help="more choices, as for the stages")
    given = parser.parse_args(arguments(sys.argv[1:]))
    overrides = given.overrides
    if given.config_dir is not None:
        overrides.append(f"hydra.searchpath=['file://{given.config_dir.resolve()}']")
    try:
        require_idle()
        atomic_write(Path("params.yaml"), composition(overrides).encode())
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print("params.yaml is composed; next: dvc repro")
    return 0


if __name__ == "__main__":
    sys.exit(main())
