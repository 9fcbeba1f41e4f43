"""Run all stages in one folder: a whole ladder with its own settings."""

from collections.abc import Sequence
from pathlib import Path

from lmladder.config import Config
from lmladder.config.composing import composed, validated
from lmladder.pipeline.evaluate import evaluate
from lmladder.pipeline.results import save_results
from lmladder.pipeline.rungs import rung_named, rungs_of
from lmladder.pipeline.running import Body, run, run_if_stale
from lmladder.pipeline.text import open_text, prepare_text


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
    config = validated(composed(conf, overrides))
    run(ladder, config, folder, folder)
    return config


def ladder(config: Config, folder: Path, _: Path) -> float | None:
    """Run all stale stages; each has the same subfolder as in outputs/."""
    run_if_stale(prepare, config, folder / "prepare", folder)
    for each in rungs_of(config):
        chosen = config.model_copy(update={"rung": each.name})
        run_if_stale(_named(each.stage), chosen, folder / each.folder, folder)
    return run_if_stale(evaluate, config, folder / "evaluate", folder)


def prepare(config: Config, folder: Path, _: Path) -> None:
    """Do what stages/prepare.py does."""
    prepare_text(config, folder)


def _named(stage: str) -> Body:
    """Return a body that fits the rung `config.rung`, as the script of a stage does."""

    def fit(config: Config, folder: Path, ladder: Path) -> float:
        text = open_text(config, ladder)
        rung = rung_named(config.rung, config)
        return save_results(rung, rung.fit(config, text, folder), config, text, folder)

    fit.__name__ = stage
    return fit
