"""Stage 1: a text becomes token arrays and a tokenizer.

The other stages read outputs/prepare, which only the pipeline writes: dvc repro prepare. By hand it
shows what a text comes to, in a folder of its own under outputs/runs/prepare:

    python stages/prepare.py tokenizer=word
    python stages/prepare.py data=file data.path=README.md tokenizer=bpe
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
