"""What the numbers show, in sentences: of the table, and of a figure."""

from collections.abc import Callable, Mapping

from lmladder.reports.table import (
    EXCESS,
    EXCESS_ERROR,
    by_model,
    models_of,
    nats_with_error,
    split_name,
    valid,
)

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
    counted, trained, oracle = (
        [name for name, each in models.items() if getattr(each, kind)][-1:]
        for kind in ("counted", "trained", "is_oracle")
    )
    ranked = trained or counted or [name for name in models if name not in oracle][-1:]
    if not ranked:
        return ""
    best = ranked[0]
    comparisons = []
    if trained:
        for name in counted:
            rival = f"the best count model ({models[name].label}, {bits[name]:.4f})"
            comparisons.append(_compared(bits[best], bits[name], rival))
    for name in oracle:
        truth = f"the oracle, which knows the true distribution ({bits[name]:.4f})"
        comparisons.append(_compared(bits[best], bits[name], truth))
    sentence = (
        f"On the {split_name(split)} text the {models[best].label} needs {bits[best]:.4f} bits "
        "per byte"
    )
    sentence = f"{sentence}: {' and '.join(comparisons)}." if comparisons else f"{sentence}."
    (row,) = table[(table["split"] == split) & (table["model"] == best)].to_dict("records")
    if excess := nats_with_error(row[EXCESS], row[EXCESS_ERROR]):
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
    groups: dict[str, list[str]] = {}
    for name in sorted(values, key=values.__getitem__):
        groups.setdefault(form(values[name]), []).append(name)
    found = [(value, " and ".join(names), len(names) > 1) for value, names in groups.items()]
    if not found:
        return ""
    (value, names, shared), *others = found
    sentence = f"{names} {'share' if shared else 'has'} the lowest {what}, {value}"
    for value, names, shared in others[:1]:
        sentence += f"; next {'are' if shared else 'is'} {names} with {value}"
    return f"{sentence}."
