"""Stage 4: the Transformer language model.

It reads outputs/prepare. In the pipeline: dvc repro transformer. By hand, in new folders in
outputs/runs/transformer, or in outputs/sweeps/transformer with -m:

    python stages/transformer.py transformer.n_layer=3 transformer.dropout=0.1
    python stages/transformer.py -m transformer.n_layer=1,2 seed=0,1
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
