"""An additional rung, one of those in the setting `rungs`, which is empty by default.

It reads outputs/prepare. In the pipeline: dvc repro rung@NAME. By hand, in new folders in
outputs/runs/rung, or in outputs/sweeps/rung with -m:

    python stages/rung.py +rungs=deep rung=deep
    python stages/rung.py -m +rungs=deep rung=deep seed=0,1
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
