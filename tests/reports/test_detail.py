"""The numbers of the figures, to a file and back."""

from lmladder.evaluation import ContextLosses, Reliability
from lmladder.reports import (
    calibration_table,
    excess_table,
    position_table,
    read_calibration,
    read_excess,
    read_history,
    read_performance,
    read_positions,
    to_csv,
)
from lmladder.system.errors import InputError
from lmladder.system.streams import stream

import pandas as pd
import pytest

RNG = stream(0, "detail")
NATS = RNG.random((5, 20))
CONFIDENCE = RNG.random(500)
POSITIONS = position_table(
    {
        "gru": ContextLosses.of_sequences(NATS[:, :7]),
        "transformer": ContextLosses.of_sequences(NATS),
    }
)
CALIBRATION = calibration_table({"mlp": Reliability.of(CONFIDENCE, CONFIDENCE > 0.5)})


@pytest.mark.parametrize(
    ("table", "read"),
    [(POSITIONS, read_positions), (CALIBRATION, read_calibration)],
    ids=["positions", "calibration"],
)
def test_a_table_is_read_back_from_its_file_bit_for_bit(tmp_path, table, read):
    (tmp_path / "table.csv").write_text(to_csv(table))
    pd.testing.assert_frame_equal(read(tmp_path / "table.csv"), table, check_exact=True)


def test_a_history_has_digests_beside_its_numbers(tmp_path):
    content = (
        "tokens,train_loss,val_loss,weights_digest\n0,,4.5,{}\n64,4.25,4.125,0123456789abcdef\n"
    )
    for digest in ("00e1234567890123", "0123456789012345", "fedcba9876543210"):
        (tmp_path / "history.csv").write_text(content.format(digest))
        table = read_history(tmp_path / "history.csv")
        assert table["weights_digest"].tolist() == [digest, "0123456789abcdef"]
        assert table["val_loss"].tolist() == [4.5, 4.125]


@pytest.mark.parametrize("read", [read_positions, read_calibration, read_history])
def test_a_file_that_is_not_such_a_table_is_rejected_in_one_line(tmp_path, read):
    columns = b"first,last,low,high,tokens,train_loss,val_loss\n"
    path = tmp_path / "table.csv"
    for content in (b"", b"\xff\xfe\x00", b"a,b\n1,2\n", columns + b"1,1,1,1,1,1,x\n"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"^[^\n]*table\.csv[^\n]*$"):
            read(path)


def test_a_damaged_performance_file_is_ignored(tmp_path):
    (tmp_path / "machine.json").write_text("[1]")
    assert read_performance(tmp_path) == {}


@pytest.mark.parametrize("column", ["transformer", "mlp_tokens"])
def test_a_missing_column_is_rejected(tmp_path, column):
    table, read = (
        (POSITIONS, read_positions) if column in POSITIONS else (CALIBRATION, read_calibration)
    )
    (tmp_path / "table.csv").write_text(to_csv(table.drop(columns=column)))
    with pytest.raises(InputError, match=rf"table\.csv: column '{column}' is missing"):
        read(tmp_path / "table.csv")


def test_the_excess_is_read_back_as_it_was_and_other_files_are_rejected(excess, tmp_path):
    path = tmp_path / "excess.csv"
    path.write_text(to_csv(excess))
    pd.testing.assert_frame_equal(read_excess(path), excess)
    path.write_text(to_csv(excess_table([])))
    assert read_excess(path).empty
    good = to_csv(excess)
    for bad in (
        good.replace("excess", "nats"),
        good.replace(",1000,", ",,", 1),
        good.replace(",1000,", ",-5,", 1),
        good.replace(",1000,", ",x,", 1),
        good.replace("0.100000", "inf", 1),
    ):
        path.write_text(bad)
        with pytest.raises(InputError, match=r"^[^\n]*excess\.csv[^\n]*$"):
            read_excess(path)
