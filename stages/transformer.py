"""Stage 4: the Transformer language model."""

from pathlib import Path

from lmladder.config import Config
from lmladder.rung import train_rung
from lmladder.stage import Done, stage


@stage("prepare")
def main(config: Config, out: Path, ladder: Path) -> Done:
    return train_rung("transformer", config.transformer, config, out, ladder)


if __name__ == "__main__":
    main()
