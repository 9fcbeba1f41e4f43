"""Run all stages in one folder: a whole ladder with its own settings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lmladder.config import Config, composed, register, typed
from lmladder.pipeline.rungs import rungs_of
from lmladder.pipeline.stages import STAGES, Result, Stage


def run_ladder(folder: Path, overrides: Sequence[str] = (), *, conf: Path = Path("conf")) -> Config:
    """Run what is stale of a ladder in a folder, from Python; return its settings.

    The results are those of `python stages/ladder.py OVERRIDES hydra.run.dir=FOLDER`.

    Parameters
    ----------
    overrides : as for Hydra, such as "transformer.n_layer=3"
    conf : the folder of the configuration

    Raises
    ------
    InputError
        If an override is wrong.
    RunError
        If a stage fails.
    """
    register()
    config = typed(composed(conf, overrides))
    STAGES["ladder"].run(config, folder, folder)
    return config


def ladder(stage: Stage, config: Config, out: Path, _: Path) -> Result:
    """Run all stale stages; each has the same folder in `out` as in outputs/."""
    STAGES["prepare"].run_if_stale(config, out / "prepare", out)
    for rung in rungs_of(config):
        chosen = replace(config, rung=rung.name)
        STAGES[rung.stage].run_if_stale(chosen, out / rung.folder, out)
    return STAGES["evaluate"].run_if_stale(config, out / "evaluate", out)
