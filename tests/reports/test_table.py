"""The perplexity table and what is made of it."""

import math
from dataclasses import replace

from lmladder.evaluation import Score
from lmladder.reports.findings import findings
from lmladder.reports.table import (
    COLUMNS,
    Row,
    ladder_grid,
    ladder_table,
    metrics,
    read_csv,
    significant,
    to_csv,
)
from lmladder.system.errors import InputError

import pandas as pd
import pytest

NAMES = [each.name for each in COLUMNS]


def test_the_order_of_rows_does_not_matter_and_the_oracle_is_last_even_if_a_model_beats_it():
    rows = [
        Row(model, kind, "", split, Score(100, 100, nll), None, None)
        for split in ("val", "test")
        for model, kind, nll in (("b", "mlp", 50), ("a", "mlp", 50), ("oracle", "oracle", 90))
    ]
    table = ladder_table(rows)
    assert list(table["model"]) == ["a", "b", "oracle"] * 2
    assert to_csv(table) == to_csv(ladder_table(reversed(rows)))


def test_the_csv_is_read_back_as_it_was_to_the_last_bit(table, tmp_path):
    path = tmp_path / "perplexity.csv"
    path.write_text(to_csv(table))
    pd.testing.assert_frame_equal(read_csv(path), table, check_exact=True)
    assert to_csv(read_csv(path)) == to_csv(table)


def test_the_csv_is_these_bytes():
    row = Row("oracle", "oracle", "prepare", "val", Score(3, 4, 1.0), None, None, 0.25, 0.5)
    assert to_csv(ladder_table([row])) == (
        "model,label,kind,rung,split,tokens,bytes,perplexity,bits_per_byte,nats_per_token,"
        "parameters,steps,standard_error,crop_nats_per_token,excess_nats_per_token,"
        "excess_standard_error\n"
        "oracle,Oracle,oracle,prepare,val,3,4,1.395612,0.360674,0.333333,,,0.250000,0.500000,,\n"
    )


def test_metrics_are_nested_by_split_and_metric(table):
    bits = table[table["split"] == "test"].set_index("model")["bits_per_byte"]
    assert metrics(table)["test"]["bits_per_byte"] == bits.to_dict()
    assert (metrics(ladder_table([])), findings(ladder_table([]))) == ({}, "")


def test_the_table_has_the_test_text_first_and_is_aligned_and_rounded(table):
    text = ladder_grid(table).to_markdown()
    assert (
        "**Test text: 98,765 tokens, 98,772 bytes; validation text: 99,999 tokens, 100,006 bytes**"
        "\n\n| Model        | Test perplexity | Test bits/byte |" in text
    )
    assert ladder_grid(table).titles[-2:] == ["Validation perplexity", "Validation bits/byte"]
    assert "| Kneser-Ney 5 |           2.293 |" in text
    assert "|  1,234,567 | 3,000 |" in text
    assert "perplexity" not in ladder_grid(table[table["split"] == "val"]).to_markdown()
    assert "0.6123 ± 0.0042" in text
    widths = {len(line) for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_a_perplexity_has_four_digits_or_those_before_the_point_but_not_sixty():
    values = (1.2345678, 99.9, 12345.6, 1e60, float("inf"))
    assert [*map(significant, values)] == ["1.235", "99.90", "12,346", "1.000e+60", "inf"]


def test_a_score_that_fails_its_audit_is_marked_and_not_compared():
    losses = {"mlp": (2.0, ""), "lstm": (1.0, "future, sums"), "gru": (3.0, "passed")}
    rows = [
        Row(name, "mlp", name, "val", Score(10, 10, 10 * nats), 5, 5, audit=audit)
        for name, (nats, audit) in losses.items()
    ]
    table = ladder_table(rows)
    assert "| Lstm (invalid: future, sums) |" in ladder_grid(table).to_markdown()
    assert "the MLP needs" in findings(table)
    found = metrics(table)["val"]
    assert found["audit"] == {"lstm": "future, sums", "gru": "passed"}
    assert found["perplexity"].keys() == {"mlp", "gru"}
    assert "audit" in to_csv(table)
    assert "audit" not in to_csv(ladder_table(rows[:1]))


def test_the_excess_has_a_column_where_the_truth_is_known(table):
    assert "Excess" not in ladder_grid(table).titles
    rows = [
        Row(name, name, name, "test", Score(10, 10, 9.0), 5, None, excess_nats_per_token=excess,
            excess_standard_error=error)
        for name, excess, error in (("mlp", 0.5, 0.01), ("transformer", 0.25, math.nan),
                                    ("oracle", None, None))
    ]  # fmt: skip
    text = ladder_grid(ladder_table(rows)).to_markdown()
    assert "| 0.5000 ± 0.0100 |" in text
    assert text.count("on no split") == 1  # the note
    assert "|          0.2500 |" in text
    assert "0.2500 nats per token from the true one" in findings(ladder_table(rows))


def test_rows_that_cannot_be_compared_are_rejected():
    first = Row("mlp", "mlp", "mlp", "val", Score(1, 1, 1.0), 0, 0)
    with pytest.raises(ValueError, match="the same text"):
        ladder_table([first, replace(first, model="gru", score=Score(1, 2, 1.0))])


@pytest.mark.parametrize(
    "row", ["", "dev,1,1,1,1,1,,,", "val,1,1,x,1,1,,,", "val,,1,1,1,1,,,", "val,1.5,1,1,1,1,,,"]
)
def test_a_file_that_is_not_a_table_is_rejected_in_one_line(tmp_path, row):
    path = tmp_path / "perplexity.csv"
    path.write_text(",".join(NAMES if row else NAMES[:5]) + f"\nmlp,MLP,mlp,mlp,{row}\n")
    with pytest.raises(InputError, match=r"^[^\n]*perplexity\.csv[^\n]*$"):
        read_csv(path)


def test_findings_compare_the_best_neural_model_with_counts_and_truth(table):
    bits = table[table["split"] == "test"].set_index("model")["bits_per_byte"]
    below = 1 - bits["transformer"] / bits["kneser_ney_5"]
    above = bits["transformer"] / bits["oracle"] - 1
    text = findings(table)
    assert text.startswith(f"On the test text the Transformer needs {bits['transformer']:.4f} bits")
    assert f"{below:.1%} less than the best count model (Kneser-Ney 5, " in text
    assert f"{above:.1%} more than the oracle" in text
    counting = table[table["model"].isin(["mlp", "kneser_ney_5"])]
    assert "more than the best count model" in findings(counting)
