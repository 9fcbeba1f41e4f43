"""Pictures, one kind a module; style.py has what they share, labels.py puts names beside things.

A function draws a Figure from numbers, `as_svg` and `as_png` make a file of it.
"""

from lmladder.reports.figures.calibration import calibration_panels
from lmladder.reports.figures.gallery import CAPTIONS, last_split, result_pictures
from lmladder.reports.figures.loss import loss_curves
from lmladder.reports.figures.perplexity import (
    perplexity_by_parameters,
    perplexity_by_time,
    perplexity_by_tokens,
)
from lmladder.reports.figures.position import position_curves
from lmladder.reports.figures.prompt import attention_picture, next_picture
from lmladder.reports.figures.style import FORMATS, as_png, as_svg, encoded, picture_format
