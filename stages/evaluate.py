"""Stage 5: scores the same text with every rung; writes table, samples, figures and report.

It reads the results of the other stages in outputs/. In the pipeline: dvc repro. By hand, in a new
folder in outputs/runs/evaluate:

    python stages/evaluate.py
    python stages/evaluate.py evaluate.checkpoint=best evaluate.splits=[val]
"""

from lmladder.pipeline import stage
from lmladder.pipeline.evaluate import evaluate

if __name__ == "__main__":
    stage(evaluate)()
