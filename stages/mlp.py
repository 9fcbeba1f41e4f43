"""Stage 3: the MLP language model."""

from pathlib import Path

from lmladder.config import Config
from lmladder.rung import train_rung
from lmladder.stage import Done, stage


@stage("prepare")
def main(config: Config, out: Path, ladder: Path) -> Done:
    return train_rung("mlp", config.mlp, config, out, ladder)


if __name__ == "__main__":
    main()
