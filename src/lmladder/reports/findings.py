"""The table in one sentence."""

from lmladder.reports.table import ORACLE, UNIFORM, is_count_model, label, split_name

import pandas as pd


def findings(table: pd.DataFrame) -> str:
    """How far the best neural model is from the best count model and from the oracle.

    Of the last split of the table, in bits per byte; plain text. What the table lacks is left out.
    """
    if table.empty:
        return ""
    split = table["split"].iloc[-1]
    rows = table[table["split"] == split]
    bits = dict(zip(rows["model"], rows["bits_per_byte"], strict=True))  # worst to best
    true_bits = bits.pop(ORACLE, None)
    counted = [model for model in bits if is_count_model(model)]
    learnt = [model for model in bits if model not in (*counted, UNIFORM)]
    best = (learnt or counted or list(bits) or [None])[-1]
    if best is None:
        return ""
    comparisons = []
    if learnt and counted:
        rival = f"the best count model ({label(counted[-1])}, {bits[counted[-1]]:.4f})"
        comparisons.append(_compared(bits[best], bits[counted[-1]], rival))
    if true_bits:
        truth = f"the oracle, which knows the true distribution ({true_bits:.4f})"
        comparisons.append(_compared(bits[best], true_bits, truth))
    sentence = (
        f"On the {split_name(split)} text the {label(best)} needs {bits[best]:.4f} bits per byte"
    )
    return f"{sentence}: {' and '.join(comparisons)}." if comparisons else f"{sentence}."


def _compared(bits: float, other: float, what: str) -> str:
    return f"{abs(bits / other - 1):.1%} {'more' if bits > other else 'less'} than {what}"
