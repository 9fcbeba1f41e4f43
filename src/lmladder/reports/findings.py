"""The table in one sentence."""

from lmladder.reports.table import models_of, split_name

import pandas as pd


def findings(table: pd.DataFrame) -> str:
    """How far the best neural model is from the best count model and from the oracle.

    Of the last split of the table, in bits per byte; plain text. What the table lacks is left out.
    """
    if table.empty:
        return ""
    split = table["split"].iloc[-1]
    rows = table[table["split"] == split]
    models = models_of(rows)
    bits = dict(zip(rows["model"], rows["bits_per_byte"], strict=True))  # worst to best
    counted = [name for name, each in models.items() if each.counted]
    trained = [name for name, each in models.items() if each.trained]
    oracle = [name for name, each in models.items() if each.is_oracle]
    ranked = trained or counted or [name for name in models if name not in oracle]
    if not ranked:
        return ""
    best = ranked[-1]
    comparisons = []
    if trained and counted:
        rival = f"the best count model ({models[counted[-1]].label}, {bits[counted[-1]]:.4f})"
        comparisons.append(_compared(bits[best], bits[counted[-1]], rival))
    for name in oracle:
        truth = f"the oracle, which knows the true distribution ({bits[name]:.4f})"
        comparisons.append(_compared(bits[best], bits[name], truth))
    sentence = (
        f"On the {split_name(split)} text the {models[best].label} needs {bits[best]:.4f} bits "
        "per byte"
    )
    return f"{sentence}: {' and '.join(comparisons)}." if comparisons else f"{sentence}."


def _compared(bits: float, other: float, what: str) -> str:
    if bits == other:
        return f"as many as {what}"
    # Against 0 bits, as of a text of one distinct character, there is no ratio.
    difference = f"{abs(bits / other - 1):.1%}" if other else f"{abs(bits - other):.4f}"
    return f"{difference} {'more' if bits > other else 'less'} than {what}"
