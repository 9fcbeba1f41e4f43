"""All stages, one after the other, in one folder: a whole ladder with settings of its own.

    python stages/ladder.py -m tokenizer=byte,char,bpe seed=0,1,2

Not a stage of the pipeline: `dvc repro` runs the stages one by one. Each part has the same folder
below this one's as it has in outputs/, and is not run again if it is finished.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from lmladder.config import Config
from lmladder.stage import Done, stage
from stages import bigram, evaluate, mlp, prepare, transformer

PARTS = {
    "prepare": prepare.main,
    "bigram": bigram.main,
    "mlp": mlp.main,
    "transformer": transformer.main,
    "evaluate": evaluate.main,
}


@stage()
def main(config: Config, out: Path, ladder: Path) -> Done:
    parts = [part.carry_out_once(config, out / name, out) for name, part in PARTS.items()]
    return Done(objective=parts[-1].objective)  # bits per byte: the same whatever the tokens


if __name__ == "__main__":
    main()
