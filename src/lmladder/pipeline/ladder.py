"""Run all stages in one folder: a whole ladder with its own settings."""

from dataclasses import replace
from pathlib import Path

from lmladder.config import Config
from lmladder.pipeline.rungs import rungs_of
from lmladder.pipeline.stages import STAGES, Result, Stage


def ladder(stage: Stage, config: Config, out: Path, _: Path) -> Result:
    """Run all stale stages; each has the same folder in `out` as in outputs/."""
    STAGES["prepare"].run_if_stale(config, out / "prepare", out)
    for rung in rungs_of(config):
        chosen = replace(config, rung=rung.name)
        STAGES[rung.stage].run_if_stale(chosen, out / rung.folder, out)
    return STAGES["evaluate"].run_if_stale(config, out / "evaluate", out)
