"""What people look at: tables, curves and other pictures, HTML pages, the README's numbers.

Only numbers and text come in, only text and pictures go out: nothing here loads a model or computes
a score. The same input gives the same bytes, as these are outputs of the pipeline. `readme.py` is a
command of its own: python -m lmladder.reports.readme README.md
"""

from lmladder.reports.attention import Attention
from lmladder.reports.detail import (
    calibration_errors,
    calibration_table,
    position_table,
    read_calibration,
    read_histories,
    read_history,
    read_performance,
    read_positions,
)
from lmladder.reports.figures import (
    CAPTIONS,
    FORMATS,
    as_png,
    as_svg,
    attention_picture,
    calibration_panels,
    encoded,
    last_split,
    loss_curves,
    next_picture,
    perplexity_by_parameters,
    perplexity_by_time,
    perplexity_by_tokens,
    picture_format,
    position_curves,
    result_pictures,
)
from lmladder.reports.findings import findings
from lmladder.reports.html import CONTEXT_PROTOCOL, render_report
from lmladder.reports.page import Grid
from lmladder.reports.samples import read_samples, to_text
from lmladder.reports.surprisal import Passage, render_surprisal
from lmladder.reports.table import (
    COLUMNS,
    Model,
    Row,
    ladder_table,
    metrics,
    models_of,
    nats_by_model,
    read_csv,
    to_csv,
    to_markdown,
)
from lmladder.reports.terminal import print_table
from lmladder.reports.tokens import token_labels, visible
