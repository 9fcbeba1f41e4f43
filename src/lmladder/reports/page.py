"""What all pages share: one layout, and a policy that forbids all that is not ours.

A page is one file. It loads nothing, and it is whole without scripts; the only one that its policy
allows, by its sha256, is the one that sorts tables, should a text that a model made up ever look
like another. What stands in `layout/` is ours, and all that it is given is escaped.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

TAG = re.compile(r"<[^>]*>")
ID = re.compile(r'( id="|href="#|url\(#)')


@dataclass(frozen=True)
class Grid:
    """A table of a page, which its reader can sort.

    Attributes
    ----------
    caption : what its numbers are
    titles : of the columns
    rows : cells under the titles, as they are shown; the first heads its row
    words : how many columns come before those of numbers
    """

    caption: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1


def render(name: str, *, sorts: bool, **values: Any) -> str:
    """The page of that name in `layout/`; the same values give the same bytes.

    With `sorts` it has the script that sorts tables.
    """
    script = files(__package__).joinpath("layout/sort.js").read_text("utf-8") if sorts else ""
    environment = Environment(
        loader=PackageLoader(__package__, "layout"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name).render(
        policy=_policy(script), script=Markup(script), **values
    )


def _policy(script: str) -> str:
    allowed = ["default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"]
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed.append(f"script-src 'sha256-{digest}'")
    return "; ".join(allowed)


def inlined(figures: Mapping[str, str]) -> list[tuple[str, Markup]]:
    """(caption, SVG) of pictures that are to stand in one page; they are trusted to be markup."""
    return [
        (caption, Markup(_renamed(svg, f"f{number}-")))
        for number, (caption, svg) in enumerate(figures.items(), 1)
    ]


def _renamed(svg: str, prefix: str) -> str:
    """The picture with identifiers of its own, as those of all in one page are to differ."""
    return TAG.sub(lambda tag: ID.sub(lambda found: found[0] + prefix, tag[0]), svg)
