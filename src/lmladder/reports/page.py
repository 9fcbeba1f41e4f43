"""The layout of all pages, and their content security policy.

A page is one file that loads nothing, and all but the playground need no script. The policy forbids
all scripts but the one of the page, named by its sha256, in case text from a model is mistaken for
markup.
Templates in `layout/` are trusted; all values are escaped.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

TAG = re.compile(r"<[^>]*>")
ID = re.compile(r'( id="|href="#|url\(#)')


@dataclass(frozen=True)
class Grid:
    """A sortable table of a page.

    Attributes
    ----------
    caption : describes the values
    titles : of the columns
    rows : cells under the titles, as they are shown; the first is the heading of its row
    words : number of columns before those of numbers
    """

    caption: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


def render(name: str, *, script: str = "", **values: Any) -> str:
    """Return the page of a template in `layout/`; the same values give the same bytes.

    Parameters
    ----------
    script : the file in `layout/` that the page runs, such as "sort.js" to sort tables
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


def inlined(figures: Mapping[str, str]) -> list[tuple[str, Markup]]:
    """Return (caption, SVG) of figures for one page; the SVGs are trusted to be markup.

    Each figure gets identifiers of its own.
    """
    return [
        (caption, Markup(TAG.sub(partial(_rename, rf"\1f{number}-"), svg)))
        for number, (caption, svg) in enumerate(figures.items(), 1)
    ]


def _rename(identifier: str, tag: re.Match[str]) -> str:
    return ID.sub(identifier, tag[0])
