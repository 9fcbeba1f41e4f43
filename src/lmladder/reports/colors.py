"""The colors of figures and pages, and their contrast.

Those of the models begin with Okabe and Ito (2008), whose colors are distinguishable in all common
forms of color blindness. Each is made as much darker as text on white needs for level AA of WCAG
2.2, so that names, lines and bars of a model have one color, also on a dark page, where bars need
less contrast than text.
"""

from lmladder.models.kind import BLUE, GREEN, ORANGE
from lmladder.models.kind import GRAY as GRAY
from lmladder.models.kind import INK as INK

import numpy as np
from matplotlib.colors import to_hex, to_rgb

PALE = "#d8dee4"
AA = 4.5


def contrast(color: str, other: str) -> float:
    """Return the contrast ratio of two colors, from 1 to 21, as WCAG 2.2 defines it."""
    channels = np.array([to_rgb(color), to_rgb(other)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    low, high = sorted((linear * (0.2126, 0.7152, 0.0722)).sum(axis=1))
    return float((high + 0.05) / (low + 0.05))


def readable(color: str) -> str:
    """Return the color, mixed with as little black as makes it readable on white."""
    mixed = (to_hex(share * np.array(to_rgb(color))) for share in np.linspace(1, 0, 101))
    return next(each for each in mixed if contrast(each, "white") >= AA)


# Of models and of the curves of a sweep.
COLORS = tuple(map(readable, (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")))
