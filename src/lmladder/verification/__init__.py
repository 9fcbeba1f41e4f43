"""Whether results come again: `runs` trains from what a checkpoint tells, `pipeline` from a commit.

Verdicts go out as data; how they are shown is told in `commands`.
"""

from lmladder.verification.pipeline import SAME, FileVerdict, Pipeline, verify_pipeline
from lmladder.verification.recorded import RecordedRun, open_run, open_text
from lmladder.verification.runs import (
    IDENTICAL,
    PARTS,
    TOLERATED,
    Difference,
    RunVerdict,
    verify_run,
)
