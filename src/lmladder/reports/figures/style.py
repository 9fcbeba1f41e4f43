"""What all pictures share: colours, markers, scales, and how a picture becomes a file.

Colours are Okabe and Ito's (2008), which the colour-blind can tell apart. Whatever a colour tells,
a marker, a dash or a name beside it tells too, so that a print in grey loses nothing. The same
numbers give the same bytes, whatever the user's settings of Matplotlib.
"""

import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec

from lmladder.reports.table import COLORS, INK
from lmladder.system.errors import InputError

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

LIGHT = COLORS[3:]  # of these, text on white would be hard to read
GREY, PALE = "#6e7781", "#d8dee4"
DOTTED, DASHED = (0, (1, 2)), (0, (4, 2))
LAYOUT_FONT = "DejaVu Sans"  # comes with Matplotlib, so that all machines place the text alike
PAGE_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
SVG_METADATA = ("Date", "Creator", "Format", "Type")  # none of it, as it names times and versions
PNG_METADATA = ("Software",)
PNG_DOTS_PER_INCH = 200

STYLE = {
    "svg.hashsalt": "lmladder", "svg.fonttype": "none", "font.family": LAYOUT_FONT, "font.size": 9,
    "text.color": INK, "text.parse_math": False, "axes.edgecolor": GREY, "axes.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.titlelocation": "left", "axes.titlesize": 10, "axes.titlepad": 12,
}  # fmt: skip

P = ParamSpec("P")


def picture(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A function whose figure looks as ours do."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _drawing():
            return draw(*args, **kwargs)

    return drawn


def as_svg(figure: Figure) -> str:
    """The figure as an <svg> element that can stand in a page beside others."""
    file = io.StringIO()
    with _drawing():
        figure.savefig(file, format="svg", metadata=dict.fromkeys(SVG_METADATA))
    svg = file.getvalue().replace(f"'{LAYOUT_FONT}'", PAGE_FONTS)
    svg = svg[svg.index("<svg") :]
    referred = set(re.findall(r"#([\w.-]+)", svg))
    # The others only number the parts of one picture, and would stand twice in a page with two.
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", svg)


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG file, in which there is no time and no version."""
    file = io.BytesIO()
    with _drawing():
        metadata = dict.fromkeys(PNG_METADATA)
        figure.savefig(file, format="png", dpi=PNG_DOTS_PER_INCH, metadata=metadata)
    return file.getvalue()


FORMATS: dict[str, Callable[[Figure], bytes]] = {
    "svg": lambda figure: as_svg(figure).encode(),
    "png": as_png,
}


def encoded(figure: Figure, path: Path) -> bytes:
    """The figure in the format that the name of its file tells; InputError if that is neither."""
    return FORMATS[picture_format(path)](figure)


def picture_format(path: Path) -> str:
    """The format of a picture's file, by its name; InputError if there is no such format."""
    name = path.suffix.removeprefix(".").lower()
    if name not in FORMATS:
        raise InputError(f"{path} is no name of a picture; end it in .{' or .'.join(FORMATS)}")
    return name


@contextmanager
def _drawing() -> Iterator[None]:
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        # Only the layout wants the glyph; who looks at the picture has fonts of their own.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def legible(color: str) -> str:
    """The colour for text beside what has this one."""
    return INK if color in LIGHT else color


def title(axes: Axes, text: str, note: str = "") -> None:
    """What is to be seen, and in small under it how to read it."""
    if note:
        axes.annotate(
            note, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points",
            fontsize=8, color=GREY, annotation_clip=False,
        )  # fmt: skip
    axes.set_title(text, pad=22 if note else None)


def number(axis: Axis, of_a_decade: Sequence[float]) -> None:
    """Numbers on a logarithmic axis, whose limits are set.

    At these multiples of powers of ten; at none but the powers where it is long, and evenly where
    it is short.
    """
    low, high = axis.get_view_interval()
    locator: Locator = LogLocator(subs=of_a_decade if high < 2000 * low else (1,))
    if high < 4 * low:
        locator = MaxNLocator(6)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def scale_losses(axes: Axes, losses: Sequence[float], room: float) -> None:
    """Scale the vertical axis to losses, with a factor `room` below the least, and number it.

    It is logarithmic, or linear from 0 where a loss is 0.
    """
    low, high = min(losses, default=1.0), max(losses, default=1.0)
    if low > 0:
        axes.set(yscale="log", ylim=(low / room, high * 1.08))
        number(axes.yaxis, (1, 1.5, 2, 3, 4, 5, 6, 7, 8))
    else:
        axes.set_ylim(0, high * 1.08 or 1)
    ruled(axes)


def ruled(axes: Axes) -> None:
    """Pale lines across, at the numbers of the vertical axis."""
    axes.grid(axis="y", color=PALE, linewidth=0.5)


def short(value: float) -> str:
    """1000000 as 1 M."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
