"""What the numbers show, in sentences: of the table, and of a figure."""

from collections.abc import Callable, Mapping
from itertools import groupby

from lmladder.reports.table import BY_NAME, EXCESS, by_model, models_of, split_name, valid

import pandas as pd


def findings(table: pd.DataFrame) -> str:
    """Compare the best trained model with the best count model and with the oracle.

    The sentence is plain text about the last split of the table, in bits per byte. A comparison
    with a model that is missing, or whose score is not valid, is left out.
    """
    table = valid(table)
    if table.empty:
        return ""
    split = table["split"].iloc[-1]
    bits = by_model(table, split, "bits_per_byte")  # from worst to best
    models = {name: each for name, each in models_of(table).items() if name in bits}
    counted = [name for name, each in models.items() if each.counted]
    trained = [name for name, each in models.items() if each.trained]
    if not (ranked := trained or counted):
        return ""
    best, comparisons = ranked[-1], list[str]()
    for name in counted[-1:] if trained else []:
        rival = f"the best count model ({models[name].label}, {bits[name]:.4f})"
        comparisons.append(_compared(bits[best], bits[name], rival))
    for name in (name for name, each in models.items() if each.is_oracle):
        truth = f"the oracle, which knows the true distribution ({bits[name]:.4f})"
        comparisons.append(_compared(bits[best], bits[name], truth))
    sentence = (
        f"On the {split_name(split)} text the {models[best].label} needs {bits[best]:.4f} bits "
        f"per byte{': ' * bool(comparisons)}{' and '.join(comparisons)}."
    )
    (row,) = table[(table["split"] == split) & (table["model"] == best)].to_dict("records")
    if excess := BY_NAME[EXCESS].cell(row):
        sentence += (
            f" Its distribution is {excess} nats per token from the true one, on any stories of "
            "the grammar."
        )
    return sentence


def _compared(bits: float, other: float, what: str) -> str:
    if bits == other:
        return f"as many as {what}"
    # There is no ratio to 0 bits, as of a text of one distinct character.
    difference = f"{abs(bits / other - 1):.1%}" if other else f"{abs(bits - other):.4f}"
    return f"{difference} {'more' if bits > other else 'less'} than {what}"


def lowest(what: str, values: Mapping[str, float], form: Callable[[float], str]) -> str:
    """Return a sentence on the lowest of the values by label, and on the next.

    Values are the same if `form` shows them so.
    """
    ordered = sorted(values, key=values.__getitem__)
    found = [(value, [*names]) for value, names in groupby(ordered, lambda k: form(values[k]))]
    if not found:
        return ""
    (value, names), *others = found
    verb = "share" if names[1:] else "has"
    sentence = f"{' and '.join(names)} {verb} the lowest {what}, {value}"
    for value, names in others[:1]:
        verb = "are" if names[1:] else "is"
        sentence += f"; next {verb} {' and '.join(names)} with {value}"
    return f"{sentence}."
