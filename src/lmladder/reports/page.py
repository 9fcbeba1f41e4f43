"""The layout of all pages, and their content security policy.

A page is one file that loads nothing. The policy forbids all scripts but its own, named by its
sha256, in case text from a model is mistaken for markup. Templates in `layout/` are trusted;
all values are escaped.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import partial
from importlib.resources import files
from typing import Any

from lmladder.reports.figures.style import WIDTH, as_svg

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

TAG = re.compile(r"<[^>]*>")
ID = re.compile(r'( id="|href="#|url\(#)')


def drawings(figures: Iterable[Figure]) -> list[tuple[str, Markup, bool]]:
    """Return (caption, SVG, whether it is wider than a phone) of the figures of one page.

    Each SVG has identifiers of its own. It is trusted to be markup.
    """
    found = []
    for number, each in enumerate(figures, 1):
        own = partial(_with_identifiers, rf"\1f{number}-")
        svg = TAG.sub(own, as_svg(each))
        found.append((str(each.get_label()), Markup(svg), each.get_figwidth() > 1.2 * WIDTH))
    return found


def _with_identifiers(prefix: str, tag: re.Match[str]) -> str:
    return ID.sub(prefix, tag[0])


def render(name: str, *, script: str = "", **values: Any) -> str:
    """Return the page of a template in `layout/`; the same values give the same bytes.

    Parameters
    ----------
    script : the file in `layout/` that the page runs, if any
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if script:
        script = files(__package__).joinpath("layout", script).read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    environment = Environment(
        loader=PackageLoader(__package__, "layout"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name).render(policy=policy, script=Markup(script), **values)
