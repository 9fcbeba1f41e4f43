"""Stage 3: the MLP language model.

It reads outputs/prepare. In the pipeline: dvc repro mlp. By hand, in new folders in
outputs/runs/mlp, or in outputs/sweeps/mlp with -m:

    python stages/mlp.py -m mlp.context_length=8,16 seed=0,1
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
