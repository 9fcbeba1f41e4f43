"""All stages, one after the other, in one folder: a whole ladder with settings of its own.

    python stages/ladder.py -m tokenizer=byte,char,bpe seed=0,1,2

Not a stage of the pipeline: `dvc repro` runs the stages one by one. Each part has the same folder
below this one's as it has in outputs/, and is not run again if it is finished.
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
