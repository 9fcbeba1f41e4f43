"""What people look at: tables, curves and other pictures, HTML pages, the README's numbers.

Only numbers and text come in, only text goes out: nothing here loads a model or computes a score.
The same input gives the same bytes, as these texts are outputs of the pipeline. `readme.py` is a
command of its own: python -m lmladder.reports.readme README.md
"""

from lmladder.reports.attention import Attention
from lmladder.reports.figures import loss_curves, read_history
from lmladder.reports.findings import findings
from lmladder.reports.html import CONTEXT_PROTOCOL, LOSS_CURVES, render_report
from lmladder.reports.page import Grid
from lmladder.reports.pictures import attention_picture, next_picture
from lmladder.reports.samples import read_samples
from lmladder.reports.surprisal import Passage, render_surprisal
from lmladder.reports.table import (
    COLUMNS,
    Row,
    ladder_table,
    metrics,
    nats_by_model,
    read_csv,
    to_csv,
    to_markdown,
)
from lmladder.reports.terminal import print_table
from lmladder.reports.tokens import token_labels, visible
