"""Stage 5: every rung scores the same text; the table, the samples, the figures and the report.

It reads what the other stages have left in outputs/. In the pipeline: dvc repro. By hand, in a
folder of its own under outputs/runs/evaluate:

    python stages/evaluate.py
    python stages/evaluate.py evaluate.checkpoint=best evaluate.splits=[val]
"""

if __name__ == "__main__":
    from lmladder.pipeline import main

    main(__file__, __doc__)
