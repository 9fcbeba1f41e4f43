"""Results for people: tables, figures and HTML pages.

The input is numbers and text, the output text and figures: nothing here computes a score, and only
`play.py` reads models. The same input gives the same bytes, as these are outputs of the pipeline.

Names are imported from the modules, as pandas and Matplotlib take a second to load, and only some
modules need them.
"""

from lmladder.system.extras import require

require(__name__, "pandas", "matplotlib", "jinja2")
