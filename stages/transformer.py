"""Stage 4: the Transformer language model."""

from pathlib import Path

from lmladder.config import Config
from lmladder.rung import train_rung
from lmladder.stage import stage


@stage
def main(config: Config, out: Path) -> float:
    return train_rung("transformer", config.transformer, config, out)


if __name__ == "__main__":
    main()
