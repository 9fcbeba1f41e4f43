"""Stage 4: the Transformer language model.

It reads outputs/prepare. In the pipeline: dvc repro transformer. By hand, in new folders in
outputs/runs/transformer, or in outputs/sweeps/transformer with -m:

    python stages/transformer.py transformer.n_layer=3 transformer.dropout=0.1
    python stages/transformer.py -m transformer.n_layer=1,2 seed=0,1
"""

from pathlib import Path

from lmladder.pipeline import Config, open_text, rung_named, save_results, stage


@stage
def transformer(config: Config, folder: Path, ladder: Path) -> float:
    """Train the Transformer; return its validation loss."""
    text = open_text(config, ladder)
    rung = rung_named("transformer", config)
    fitted = rung.fit(config, text, folder)
    return save_results(rung, fitted, config, text, folder)


if __name__ == "__main__":
    transformer()
