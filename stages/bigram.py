"""Stage 2: the count models, from uniform to Kneser-Ney, which share one set of counts.

It reads outputs/prepare. In the pipeline: dvc repro bigram. By hand, in new folders in
outputs/runs/bigram, or in outputs/sweeps/bigram with -m:

    python stages/bigram.py bigram.kneser_ney_orders=[4,6]
    python stages/bigram.py -m bigram.add_k=0.1,1
"""

from pathlib import Path

from lmladder.pipeline import Config, open_text, rung_named, save_results, stage


@stage
def bigram(config: Config, folder: Path, ladder: Path) -> float:
    """Count n-grams; return the lowest loss of the count models."""
    text = open_text(config, ladder)
    rung = rung_named("bigram", config)
    fitted = rung.fit(config, text, folder)
    return save_results(rung, fitted, config, text, folder)


if __name__ == "__main__":
    bigram()
