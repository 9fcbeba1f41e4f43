"""Stage 2: the count models, from uniform to Kneser-Ney, which share one set of counts.

They read outputs/prepare. In the pipeline: dvc repro bigram. By hand, in folders of their own under
outputs/runs/bigram, or outputs/sweeps/bigram with -m:

    python stages/bigram.py bigram.kneser_ney_orders=[4,6]
    python stages/bigram.py -m bigram.add_k=0.1,1
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
