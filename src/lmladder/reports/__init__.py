"""Results for people: tables, figures and HTML pages.

The input is numbers and text, the output text and figures: nothing here computes a score, and only
`play.py` reads models. The same input gives the same bytes, as these are outputs of the pipeline.
"""

from lmladder.system.extras import require

require(__name__, "pandas", "matplotlib", "jinja2")

from lmladder.reports.attention import Attention
from lmladder.reports.detail import (
    calibration_errors,
    calibration_table,
    excess_table,
    position_table,
)
from lmladder.reports.figures.calibration import calibration_panels
from lmladder.reports.figures.gallery import result_figures, truth_figures
from lmladder.reports.figures.loss import loss_curves
from lmladder.reports.figures.perplexity import perplexity_by_parameters
from lmladder.reports.figures.position import position_curves
from lmladder.reports.figures.style import as_svg
from lmladder.reports.findings import findings
from lmladder.reports.html import Passage, render_report, render_surprisal
from lmladder.reports.play import render_play
from lmladder.reports.table import (
    COLUMNS,
    Grid,
    Model,
    Row,
    ladder_grid,
    ladder_table,
    metrics,
    models_of,
    read_csv,
    to_csv,
)
from lmladder.reports.terminal import print_table
from lmladder.reports.text import to_text, token_labels, visible
