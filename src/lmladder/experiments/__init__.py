"""Many runs compared: which differences in score are real. docs/comparing.md explains the numbers.

`runs.py` finds and reads what the stages wrote, `settings.py` with which settings, `revisions.py`
what git keeps of it, and `records.py` rejects edited files. `configurations.py` joins runs that
differ only in seed and compares them with the best, by the statistics of `intervals.py`. Tables and
pages are made in `lmladder.reports.comparison`. Nothing here loads a model: scores of blocks of the
text are in the folders of the runs.
"""

from lmladder.experiments.configurations import Comparison, Configuration, as_override, compare
from lmladder.experiments.revisions import find_revisions
from lmladder.experiments.runs import METRICS, Found, Run, find_runs, settings_of
