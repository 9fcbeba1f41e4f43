"""The committed table is a ladder: what the README shows, held to what it claims."""

from itertools import pairwise
from pathlib import Path

from lmladder.reports import read_csv

import pandas as pd
import pytest

TABLE = read_csv(Path(__file__).parent.parent / "outputs/evaluate/perplexity.csv")


def rows(split: str) -> pd.DataFrame:
    return TABLE[TABLE["split"] == split].set_index("model")


@pytest.mark.parametrize("split", ["val", "test"])
def test_bits_per_byte_fall_from_rung_to_rung(split: str) -> None:
    ladder = ["uniform", "unigram", "bigram", "mlp", "transformer"]
    bits = rows(split)["bits_per_byte"]
    assert all(bits[lower] < bits[upper] for upper, lower in pairwise(ladder))


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_transformer_is_a_tenth_below_the_best_count_model(split: str) -> None:
    bits = rows(split)["bits_per_byte"]
    counted = bits[[model for model in bits.index if model.startswith("kneser_ney")]]
    assert bits["transformer"] <= 0.9 * counted.min()


@pytest.mark.parametrize("split", ["val", "test"])
def test_no_model_beats_the_oracle_by_more_than_its_standard_error(split: str) -> None:
    nats, errors = rows(split)["nats_per_token"], rows(split)["standard_error"]
    assert nats.drop("oracle").min() > nats["oracle"] - errors["oracle"]
