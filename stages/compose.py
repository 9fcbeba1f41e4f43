"""Compose conf/ and overrides into params.yaml, which the pipeline reads.

    python stages/compose.py [--config-dir FOLDER] [override ...]

This is not a stage: run it after a change in conf/, then `dvc repro`. `dvc exp run -S ...` composes
the same bytes itself.
"""

if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from the imports, which take long

import argparse
import contextlib
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path

from lmladder.config import Config, arguments, composed, typed
from lmladder.system.errors import InputError, LadderError, no_file
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
    require_watched(typed(node))
    OmegaConf.resolve(node)
    return OmegaConf.to_yaml(node)


def require_watched(config: Config) -> None:
    """Raise InputError if a file is missing on which DVC depends, the value of a key `watch`."""
    settings = dotted(asdict(config))
    for key, name in settings.items():
        if key.endswith(".watch") and name is not None and not (CONF.parent / name).exists():
            group = key.removesuffix("watch")
            # Users set another key of the same group, such as data.path.
            keys = (each for each in settings if each.startswith(group) and settings[each] == name)
            raise InputError(f"{min(keys, key=key.__eq__)}: {no_file(CONF.parent / name, name)}")


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
