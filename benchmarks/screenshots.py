"""Take the screenshots of the documentation in a headless Chromium:

    python benchmarks/screenshots.py REPORT.html COMPARISON.html PLAY.html docs/images

The report is outputs/evaluate/report.html, the comparison of `lmladder compare -o`, the last one of
`lmladder play --text`.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import browser

DESK = (1280, 860)


class Shot(NamedTuple):
    """A window of a page: from the heading of a section on, with the mouse at an element.

    With `element`, it is that element alone.
    """

    name: str
    size: tuple[int, int]
    heading: str | None = None
    dark: bool = False
    mouse: str | None = None
    element: str = ""


PLACE = ".passage label:nth-of-type(92)"
REPORT = (
    Shot("report", DESK),
    Shot("report-passage", (1280, 560), "Surprisal", dark=True, mouse=PLACE),
    Shot("report-figures", DESK, "Figures"),
    Shot("report-attention", DESK, "Attention"),
    Shot("recall", DESK, element="figure.figure:nth-of-type(6) svg"),
)
COMPARISON = (Shot("comparison", (1100, 560)),)
PLAY = (Shot("play", (1100, 1350)),)
LOADED = "!document.querySelector('#models') || document.body.matches('.ready')"
TO_HEADING = """{{
  const heading = [...document.querySelectorAll("h2")].find(h2 => h2.textContent == "{}");
  scrollTo(0, heading.getBoundingClientRect().top + scrollY - 24);
}}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("report", "comparison", "play", "folder"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    program = browser.find()
    if program is None:
        parser.error("there is no Chromium or Chrome")
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, browser.browsing(program, Path(profile)) as page:
        pages = {given.report: REPORT, given.comparison: COMPARISON, given.play: PLAY}
        for path, shots in pages.items():
            for shot in shots:
                width, height = shot.size
                page.open(path, width=width, height=height, dark=shot.dark)
                while not page.ask(LOADED):
                    time.sleep(0.1)
                if shot.heading:
                    page.ask(TO_HEADING.format(shot.heading))
                if shot.mouse:
                    page.point(shot.mouse)
                page.screenshot(given.folder / f"{shot.name}.png", shot.element)


if __name__ == "__main__":
    main()
