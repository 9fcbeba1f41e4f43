"""A mixture of other rungs' models, one of those in the setting `mixtures`, empty by default.

It reads outputs/prepare and the checkpoints of its members. In the pipeline: dvc repro
mixture@NAME. By hand, in new folders in outputs/runs/mixture:

    python stages/mixture.py "+mixtures.a={kind: mixture, members: [kneser_ney_5, mlp]}" rung=a
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
