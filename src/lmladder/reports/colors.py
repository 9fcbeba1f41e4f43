"""The colors of figures and pages, and their contrast.

Those of the models begin with Okabe and Ito (2008), whose colors are distinguishable in all common
forms of color blindness. Each is made as much darker on a light page, or lighter on a dark one, as
text needs for level AA of WCAG 2.2, so that names, lines and bars of a model have one color.
"""

from lmladder.models.registry import INK

import numpy as np
from matplotlib.colors import to_hex, to_rgb

LIGHT, DARK = "#ffffff", "#161616"  # pages
GRAY, PALE = "#6e7781", "#d8dee4"
NEUTRAL = {LIGHT: DARK, PALE: "#35393d", INK: "#e6e9ec"}  # in figures, and on a dark page
AA = 4.5


def contrast(color: str, other: str) -> float:
    """Return the contrast ratio of two colors, from 1 to 21, as WCAG 2.2 defines it."""
    channels = np.array([to_rgb(color), to_rgb(other)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return float((high + 0.05) / (low + 0.05))


def readable(color: str, page: str = LIGHT, ratio: float = AA) -> str:
    """Return the color, mixed with as little black or white as gives it this contrast."""
    start, end = np.array(to_rgb(color)), float(page == DARK)
    mixed = (to_hex(start + share * (end - start)) for share in np.linspace(0, 1, 101))
    return next(each for each in mixed if contrast(each, page) >= ratio)


def on_dark(color: str) -> str:
    """Return the color that replaces one of a figure on a dark page."""
    return NEUTRAL.get(color) or readable(color, DARK, 6)


COLORS = tuple(
    map(readable, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"))
)  # of models and of the curves of a sweep
