"""The output of `lmladder try`: an answer in sentences, and the ledger as a table and a figure."""

from collections.abc import Sequence

from lmladder.experiments.trials import BETTER, EQUAL, UNDECIDED, WORSE, Trial
from lmladder.reports import grid
from lmladder.reports.colors import COLORS, GRAY
from lmladder.reports.figures.labels import Label, name_lines
from lmladder.reports.figures.style import ruled, styled, title, wide_figure
from lmladder.system.errors import InputError

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

VERDICTS = {
    BETTER: "is better than the base",
    WORSE: "is worse than the base",
    EQUAL: "makes no difference of interest",
    UNDECIDED: "is not shown to be better or worse",
}


def sentences(trial: Trial, ledger: Sequence[Trial]) -> str:
    """Return an answer: the test, how often the text was asked, and the confirmation."""
    number = trial.number(ledger)
    lines = [
        f"{_name(trial)} {VERDICTS[trial.answer]}: {trial.found} nats per token of the validation "
        f"text; smallest difference of interest {trial.smallest:g}",
        f"pairs of runs with equal {trial.equal}: {trial.pairs}, looks: {trial.looks}, questions "
        f"about this text: {number}",
    ]
    if found := trial.confirmation:
        where = f"corrected for the text and {number} question{'' if number == 1 else 's'}"
        if trial.excess is not None:
            where = f"on fresh text, where the base is {trial.excess:.4f} above the truth"
        lines.append(f"{where}: {found}, {'keep it' if found.high < 0 else 'do not keep it'}")
    return "\n".join(lines)


def _name(trial: Trial) -> str:
    """Return what was changed."""
    code = f"code since {trial.against[:12]}" if trial.against else ""
    return " and ".join(filter(None, (trial.change, code)))


def as_text(trials: Sequence[Trial]) -> str:
    """Return the ledger as a table for a terminal."""
    titles = ("Rung", "Change", "Answer", "Pairs", "Validation text", "Confirmed", "Keep")
    rows = []
    for each in trials:
        found = each.confirmation
        keep = "yes" if found and found.high < 0 else ""
        numbers = str(each.pairs), str(each.found), str(found or ""), keep
        rows.append((each.rung, _name(each), each.answer, *numbers))
    looks = sum(each.looks for each in trials)
    caption = f"{len(trials)} questions, {looks} looks; differences in nats per token"
    return grid.as_text(grid.Grid(caption, titles, rows, words=3), ["Change"])


@styled()
def ledger_figure(trials: Sequence[Trial]) -> Figure:
    """Draw the best loss so far over the questions: on the validation text, and on fresh text.

    Both are differences to the base of the first question about the rung and text of the last one.

    Raises
    ------
    InputError
        If no change was confirmed on fresh text.
    """
    asked = trials[-1].rung, trials[-1].text
    first, *_ = same = [each for each in trials if (each.rung, each.text) == asked]
    start = next((each.excess for each in same if each.excess is not None), None)
    if start is None:
        raise InputError("no change was confirmed on fresh text, so there is nothing to draw")
    best, fresh = [0.0], [0.0]
    for each in same:
        gain, true = each.base + each.difference - first.base, fresh[-1]
        if gain < best[-1] and each.excess is not None and each.confirmed is not None:
            true = each.excess + each.confirmed - start
        best.append(min(gain, best[-1]) if each.answer == BETTER else best[-1])
        fresh.append(true)
    figure, axes = wide_figure()
    lines = []
    for values, name, color in ((best, "validation", GRAY), (fresh, "fresh text", COLORS[0])):
        axes.step(range(len(values)), values, "o-", where="post", color=color, markersize=4)
        lines.append(Label(f"{name}\N{EM SPACE}{values[-1]:+.4f}", None, values[-1], color, "bold"))
    axes.set(xlabel="questions", ylabel="nats per token, minus the first base", xlim=(0, len(same)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    ruled(axes)
    title(axes, f"Best so far of {first.rung}, over the questions asked")
    name_lines(axes, lines)
    figure.set_label(f"After {len(same)} questions: {best[-1]:+.4f}, {fresh[-1]:+.4f} fresh.")
    return figure
