"""Stage 3: the MLP language model.

It reads outputs/prepare. In the pipeline: dvc repro mlp. By hand, in new folders in
outputs/runs/mlp, or in outputs/sweeps/mlp with -m:

    python stages/mlp.py mlp.context_length=16
    python stages/mlp.py -m mlp.context_length=8,16 seed=0,1
"""

from pathlib import Path

from lmladder.pipeline import Config, open_text, rung_named, save_results, stage


@stage
def mlp(config: Config, folder: Path, ladder: Path) -> float:
    """Train the MLP; return its validation loss."""
    text = open_text(config, ladder)
    rung = rung_named("mlp", config)
    fitted = rung.fit(config, text, folder)
    return save_results(rung, fitted, config, text, folder)


if __name__ == "__main__":
    mlp()
