"""A mixture of other rungs' models, one of those in the setting `mixtures`, empty by default.

It reads outputs/prepare and the checkpoints of its members. In the pipeline: dvc repro
mixture@NAME. By hand, in new folders in outputs/runs/mixture:

    python stages/mixture.py +mixture@mixtures.a=default "mixtures.a.members=[trigram,mlp]" rung=a
"""

from pathlib import Path

from lmladder.pipeline import Config, open_text, rung_named, save_results, stage


@stage
def mixture(config: Config, folder: Path, ladder: Path) -> float:
    """Fit the weights of the mixture `config.rung`; return its validation loss."""
    rung = rung_named(config.rung, config)
    text = open_text(config, ladder)
    fitted = rung.fit(config, text, folder)
    return save_results(rung, fitted, config, text, folder)


if __name__ == "__main__":
    mixture()
