"""An additional rung, one of those in the setting `rungs`, which is empty by default.

It reads outputs/prepare. In the pipeline: dvc repro rung@NAME. By hand, in new folders in
outputs/runs/rung, or in outputs/sweeps/rung with -m:

    python stages/rung.py +rungs=deep rung=deep
    python stages/rung.py -m +rungs=deep rung=deep seed=0,1
"""

from pathlib import Path

from lmladder.pipeline import Config, open_text, rung_named, save_results, stage


@stage
def rung(config: Config, folder: Path, ladder: Path) -> float:
    """Fit the rung `config.rung`; return its validation loss."""
    rung = rung_named(config.rung, config)
    text = open_text(config, ladder)
    fitted = rung.fit(config, text, folder)
    return save_results(rung, fitted, config, text, folder)


if __name__ == "__main__":
    rung()
