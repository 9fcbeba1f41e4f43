"""Stage 3: the MLP language model, or a recurrent one in its place.

It reads outputs/prepare. In the pipeline: dvc repro mlp. By hand, in folders of their own under
outputs/runs/mlp, or outputs/sweeps/mlp with -m:

    python stages/mlp.py mlp=gru
    python stages/mlp.py -m mlp.context_length=8,16 seed=0,1
"""

from pathlib import Path

from lmladder.config import Config
from lmladder.rung import train_rung
from lmladder.stage import Done, stage


@stage("prepare")
def main(config: Config, out: Path, ladder: Path) -> Done:
    return train_rung("mlp", config.mlp, config, out, ladder)


if __name__ == "__main__":
    main()
