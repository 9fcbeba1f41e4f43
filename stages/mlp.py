"""Stage 3: the MLP language model."""

from pathlib import Path

from lmladder.config import Config
from lmladder.rung import train_rung
from lmladder.stage import stage


@stage
def main(config: Config, out: Path) -> float:
    return train_rung("mlp", config.mlp, config, out)


if __name__ == "__main__":
    main()
