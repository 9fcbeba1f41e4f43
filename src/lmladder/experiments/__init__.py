"""Comparison of runs: which differences in score are significant. docs/comparing.md explains it.

`runs.py` finds and reads the results of the stages, `settings.py` their settings, `revisions.py`
reads them from git, and `records.py` rejects edited files. `configurations.py` groups runs that
differ only in seed and compares them with the best, by the statistics of `intervals.py`. Tables and
pages are made in `lmladder.reports.comparison`. Nothing here loads a model: the folders of runs
contain the losses of blocks of the text.
"""

from lmladder.experiments.configurations import Comparison, Configuration, as_override, compare
from lmladder.experiments.revisions import find_revisions
from lmladder.experiments.runs import METRICS, Found, Run, find_runs, settings_of
