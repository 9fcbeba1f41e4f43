"""Comparison of runs: which differences in score are significant. docs/comparing.md explains it.

`runs.py` finds the records of the stages, scores.json, and `revisions.py` those in git.
`configurations.py` groups runs that differ only in seed and compares them with the best, by the
statistics of `intervals.py`. Tables and pages are made in `lmladder.reports`. Nothing here loads a
model: the records contain the losses of blocks of the text. `verify.py` trains a run again, and
`jobs.py` records which jobs of a sweep are finished.
"""

from lmladder.experiments.configurations import Comparison, Configuration, compare
from lmladder.experiments.revisions import find_revisions
from lmladder.experiments.runs import METRICS, Found, Run, find_runs
