"""Stage 4: the Transformer language model.

It reads outputs/prepare. In the pipeline: dvc repro transformer. By hand, in folders of their own
under outputs/runs/transformer, or outputs/sweeps/transformer with -m:

    python stages/transformer.py transformer.n_layer=3 transformer.dropout=0.1
    python stages/transformer.py -m transformer.n_layer=1,2 seed=0,1
"""

from pathlib import Path

from lmladder.config import Config
from lmladder.rung import train_rung
from lmladder.stage import Done, stage


@stage("prepare")
def main(config: Config, out: Path, ladder: Path) -> Done:
    return train_rung("transformer", config.transformer, config, out, ladder)


if __name__ == "__main__":
    main()
