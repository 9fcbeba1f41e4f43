"""conf/ plus overrides becomes params.yaml, which the pipeline reads.

    python stages/compose.py [override ...]

Not a stage: run it after a change in conf/, then `dvc repro`. `dvc exp run -S ...` does the same by
itself, to the same bytes.
"""

import argparse
import sys
from pathlib import Path

from lmladder.atomic import atomic_write
from lmladder.config import one_line, typed
from lmladder.errors import InputError, LadderError
from lmladder.stage import CONFIGURATION_ERRORS

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

CONF = Path(__file__).resolve().parent.parent / "conf"


def composition(overrides: list[str]) -> str:
    """The resolved configuration as YAML.

    Raises
    ------
    InputError
        If an override names an unknown key, or a value is of the wrong type, missing or absurd.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            node = compose("config", overrides)
    except CONFIGURATION_ERRORS as error:
        raise InputError(f"configuration: {one_line(error)}") from None
    typed(node)
    OmegaConf.resolve(node)
    return OmegaConf.to_yaml(node)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("overrides", nargs="*", help="such as transformer.n_layer=3 data=names")
    arguments = parser.parse_args()
    try:
        params = composition(arguments.overrides)
        composed = OmegaConf.create(params)
        for key, watched in (
            ("data.path", composed.data.watch),
            ("tokenizer.path", composed.tokenizer.watch),
            ("transformer.init_from", composed.transformer.watch),
        ):
            if not (CONF.parent / watched).is_file():
                raise InputError(f"{key}: there is no file {watched}")
        atomic_write(Path("params.yaml"), params.encode())
    except LadderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print("params.yaml is composed; next: dvc repro")
    return 0


if __name__ == "__main__":
    sys.exit(main())
