"""What the numbers show: the sentence of the table, and the models that captions compare."""

from collections.abc import Mapping

from lmladder.reports.table import BY_NAME, EXCESS, Model, by_model, models_of, split_name, valid

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


def contenders(models: Mapping[str, Model], values: Mapping[str, float]) -> dict[str, float]:
    """Return the values of the trained models and of the best count model, the lowest first."""
    ranked = sorted((each for each in values if each in models), key=values.__getitem__)
    counted = [name for name in ranked if models[name].counted][:1]
    return {name: values[name] for name in ranked if models[name].trained or name in counted}
