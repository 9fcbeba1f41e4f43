"""A comparison as a picture: the score of each line over the setting by which lines are grouped."""

from pathlib import Path

from lmladder import reports
from lmladder.atomic import atomic_write
from lmladder.comparison.lines import Comparison, Line, as_override
from lmladder.comparison.runs import METRICS
from lmladder.errors import InputError
from lmladder.reports.figures.sweep import Swept, Value, sweep_curves

from matplotlib.figure import Figure


def write_picture(comparison: Comparison, path: Path) -> None:
    """Draw a comparison to a file, .svg or .png; InputError as `sweep_picture`."""
    atomic_write(path, reports.encoded(sweep_picture(comparison), path))


def sweep_picture(comparison: Comparison) -> Figure:
    """A curve for all lines that are alike but for the setting.

    Raises
    ------
    InputError
        If the comparison is by no setting.
    """
    if comparison.by is None:
        raise InputError("a picture of runs needs the setting of its horizontal axis: --by SETTING")
    alike: dict[str, list[Line]] = {}
    one_model = len({line.model for line in comparison.lines}) == 1
    for line in comparison.lines:  # by the setting, in its order
        name = f"{reports.label(line.model)} {line.shown}".rstrip()
        alike.setdefault(line.shown or name if one_model else name, []).append(line)
    curves = [
        Swept(
            name,
            [_value(line) for line in lines],
            [line.scores(comparison.metric) for line in lines],
        )
        for name, lines in alike.items()
    ]
    score, _, _ = METRICS[comparison.metric].partition(",")
    return sweep_curves(curves, setting=comparison.by, score=score)


def _value(line: Line) -> Value:
    value = line.group
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number else as_override(value)
