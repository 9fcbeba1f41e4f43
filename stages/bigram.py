"""Stage 2: the count models, from uniform to Kneser-Ney, which share one set of counts.

It reads outputs/prepare. In the pipeline: dvc repro bigram. By hand, in new folders in
outputs/runs/bigram, or in outputs/sweeps/bigram with -m:

    python stages/bigram.py bigram.kneser_ney_orders=[4,6]
    python stages/bigram.py -m bigram.add_k=0.1,1
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
