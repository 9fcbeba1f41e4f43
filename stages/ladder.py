"""All stages in one folder: a whole ladder with its own settings.

    python stages/ladder.py -m tokenizer=byte,char,bpe seed=0,1,2

This is not a stage of the pipeline: `dvc repro` runs the stages one by one. Each stage has the same
subfolder as in outputs/, and is not run again if it is finished.
"""

from lmladder.pipeline import stage
from lmladder.pipeline.ladder import ladder

if __name__ == "__main__":
    stage(ladder)()
