"""One table of many runs: `lmladder compare`. docs/comparing.md tells what its numbers mean.

`runs.py` finds and reads what the stages wrote, `revisions.py` what git keeps of it; `lines.py`
makes one line of runs that differ only in seed and holds each against the best, `bootstrap.py`
tells differences from chance, `formats.py` prints and `picture.py` draws; `changes.py` holds two
runs of the whole pipeline against each other. Nothing here loads a model: scores of blocks of the
text are in the folders of the runs.
"""

from lmladder.comparison.formats import FORMATS, print_comparison, to_html
from lmladder.comparison.lines import Comparison, Line, compare
from lmladder.comparison.revisions import find_revisions
from lmladder.comparison.runs import METRICS, Found, Run, find_runs, settings_of
