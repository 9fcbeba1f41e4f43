"""Stage 1: converts a text into token arrays and a tokenizer.

The other stages read outputs/prepare, which only the pipeline writes: dvc repro prepare. By hand,
to try a text or a tokenizer, in a new folder in outputs/runs/prepare:

    python stages/prepare.py tokenizer=word
    python stages/prepare.py data=file data.path=README.md tokenizer=bpe
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
