"""The style of all figures, their scales and grids, and their conversion to files.

A figure is as wide as a phone, and its label is its caption, which states what it shows. A marker,
a dash pattern or a name repeats the information of each color, for print in gray. The same numbers
give the same bytes, independent of the user's settings of Matplotlib.
"""

import html
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lmladder.reports.colors import GRAY, INK, PALE

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

DOTTED, DASHED = (0, (1, 2)), (0, (4, 2))
LAYOUT_FONT = "DejaVu Sans"  # part of Matplotlib, so that the layout is the same on all machines
WIDTH = 4.8  # inches: a point is a pixel of a phone that is 390 pixels wide
PAGE_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

STYLE = {
    "svg.hashsalt": "lmladder", "svg.fonttype": "none", "font.family": LAYOUT_FONT, "font.size": 9,
    "text.color": INK, "text.parse_math": False, "axes.edgecolor": GRAY, "axes.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": GRAY, "ytick.color": GRAY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.titlelocation": "left", "axes.titlesize": 10, "axes.titlepad": 12,
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of all figures; a context, and a decorator of functions."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        # Only the layout uses this font; viewers of an SVG have fonts of their own.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def wide_figure(left: float = 0.14) -> tuple[Figure, Axes]:
    """Return a figure and its axes; the right margin is for names, the left one for numbers."""
    figure = Figure(figsize=(WIDTH, 4))
    return figure, figure.add_axes((left, 0.125, 0.645 - left, 0.67))


def as_svg(figure: Figure) -> str:
    """Return the figure as an <svg> element that can be embedded in a page."""
    svg = _saved(figure)
    svg = svg[svg.index("<svg") :].replace(f"font-family: '{LAYOUT_FONT}'; ", "")
    caption = html.escape(str(figure.get_label()))
    start = f'<svg role="img" font-family="{PAGE_FONTS}"'
    svg = svg.replace("<svg", start, 1).replace(">", f"><title>{caption}</title>", 1)
    referred = set(re.findall(r"#([\w.-]+)", svg))
    # The other identifiers are not used, and would occur twice in a page with two figures.
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", svg)


def _saved(figure: Figure) -> str:
    """Return what `savefig` writes, which is the same each time.

    The layout is computed once, as Matplotlib would compute another whenever it saves the figure.
    """
    file = io.StringIO()
    with styled():
        if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # no times and versions
        figure.savefig(file, format="svg", metadata=metadata)
    return file.getvalue()


def title(axes: Axes, text: str, note: str = "") -> None:
    """Write a title at the top of the figure, and under it a note in small gray letters."""
    above = 4.0  # points
    for words, size, color in ((text, 10, INK), (note, 8, GRAY)):
        lines = textwrap.wrap(words, int(axes.figure.bbox.width / axes.figure.dpi * 125 / size))
        axes.annotate(
            "\n".join(lines), (0.012, 1), (0, -above), xycoords="figure fraction", va="top",
            textcoords="offset points", fontsize=size, color=color, annotation_clip=False,
        )  # fmt: skip
        above += 1.3 * size * len(lines)


def number(axis: Axis, multiples: Sequence[float]) -> None:
    """Label a logarithmic axis, whose limits are set, with numbers.

    They are the `multiples` of powers of ten; on a long axis only 1, 2 and 5 of these, on a longer
    one the powers, on a short axis evenly spaced numbers.
    """
    low, high = axis.get_view_interval()
    if high > 100 * low:
        multiples = [each for each in multiples if each in (1, 2, 5)]
    locator: Locator = LogLocator(subs=multiples if high < 2000 * low else (1,))
    if high < 4 * low:
        locator = MaxNLocator(6)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def scale_losses(axes: Axes, losses: Sequence[float], room: float) -> None:
    """Scale the y axis to losses, with a factor `room` below the lowest, and label it.

    It is logarithmic, or linear from 0 if a loss is 0.
    """
    low, high = min(losses, default=1.0), max(losses, default=1.0)
    if low > 0:
        axes.set(yscale="log", ylim=(low / room, high * 1.08))
        number(axes.yaxis, (1, 1.5, 2, 3, 4, 5, 6, 7, 8))
    else:
        axes.set_ylim(0, high * 1.08 or 1)
    ruled(axes)


def ruled(axes: Axes) -> None:
    """Draw pale horizontal lines at the numbers of the y axis."""
    axes.grid(axis="y", color=PALE, linewidth=0.5)


def short(value: float) -> str:
    """Format 1000000 as 1 M."""
    for size, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
