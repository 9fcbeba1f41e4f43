"""The layout of all pages, their colors, and their content security policy.

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

from lmladder.reports.colors import on_dark
from lmladder.reports.figures.style import WIDTH, as_svg

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

TAG = re.compile(r"<[^>]*>")
ID = re.compile(r'( id="|href="#|url\(#)')
COLORS = "/* colors of the figures */"  # where the template has them
COLOR = re.compile(r": #([0-9a-f]{6})\b")


def drawings(figures: Iterable[Figure]) -> list[tuple[str, Markup, bool]]:
    """Return (caption, SVG, whether it is wider than a phone) of the figures of one page.

    Each SVG has identifiers of its own, and the colors of the page's scheme. It is trusted to be
    markup.
    """
    found = []
    for number, each in enumerate(figures, 1):
        svg = TAG.sub(partial(_adapted, rf"\1f{number}-"), as_svg(each))
        found.append((str(each.get_label()), Markup(svg), each.get_figwidth() > 1.2 * WIDTH))
    return found


def _adapted(identifier: str, tag: re.Match[str]) -> str:
    return COLOR.sub(r": var(--c\1)", ID.sub(identifier, tag[0]))


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
    template = environment.get_template(name)
    page = template.render(policy=policy, script=Markup(script), colors=COLORS, **values)
    used = sorted(set(re.findall(r"var\(--c([0-9a-f]{6})\)", page)))
    light = " ".join(f"--c{each}: #{each};" for each in used)
    dark = " ".join(f"--c{each}: {on_dark(f'#{each}')};" for each in used)
    scheme = f":root {{ {light} }} @media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    return page.replace(COLORS, scheme, 1)
