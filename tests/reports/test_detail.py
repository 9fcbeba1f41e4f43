"""The numbers behind the pictures, to a file and back."""

from lmladder.evaluation import ContextLosses, Reliability
from lmladder.reports import (
    calibration_errors,
    calibration_table,
    position_table,
    read_calibration,
    read_history,
    read_performance,
    read_positions,
    to_csv,
)
from lmladder.system.errors import InputError
from lmladder.system.streams import stream

import numpy as np
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
    ("table", "read"), [(POSITIONS, read_positions), (CALIBRATION, read_calibration)]
)
def test_a_table_comes_back_from_its_file_bit_for_bit(tmp_path, table, read):
    (tmp_path / "table.csv").write_text(to_csv(table))
    pd.testing.assert_frame_equal(read(tmp_path / "table.csv"), table, check_exact=True)


def test_a_history_has_digests_beside_its_numbers(tmp_path):
    told = "tokens,train_loss,val_loss,weights_digest\n0,,4.5,{}\n64,4.25,4.125,0123456789abcdef\n"
    for digest in ("00e1234567890123", "0123456789012345", "fedcba9876543210"):
        (tmp_path / "history.csv").write_text(told.format(digest))
        table = read_history(tmp_path / "history.csv")
        assert table["weights_digest"].tolist() == [digest, "0123456789abcdef"]
        assert table["val_loss"].tolist() == [4.5, 4.125]


def test_a_model_that_reads_less_has_no_numbers_beyond():
    assert POSITIONS["last"].tolist() == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    known = POSITIONS["gru"].notna()
    assert POSITIONS["last"][known].tolist() == [1, 2, 3, 4, 6]
    assert POSITIONS["transformer"].notna().all()
    assert POSITIONS["gru"][0] == pytest.approx(NATS[:, 0].mean(), abs=1e-6)


def test_the_errors_are_those_of_the_bins():
    expected = Reliability.of(CONFIDENCE, CONFIDENCE > 0.5).expected_calibration_error
    assert calibration_errors(CALIBRATION) == {"mlp": pytest.approx(expected, abs=2e-6)}


@pytest.mark.parametrize("read", [read_positions, read_calibration, read_history])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"", "cannot read"),
        (b"\xff\xfe\x00", "cannot read"),
        (b"a,b\n1,2\n", "is missing"),
        (b"first,last,low,high,tokens,train_loss,val_loss\n1,1,1,1,1,1,x\n", "val_loss|got 1"),
    ],
)
def test_what_is_no_such_table_is_named_in_one_line(tmp_path, read, content, complaint):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff"])
def test_no_performance_is_known_where_none_is_told(tmp_path, content):
    if content is not None:
        (tmp_path / "performance.json").write_bytes(content)
    assert read_performance(tmp_path) == {}


def test_an_empty_bin_is_an_empty_cell():
    table = calibration_table({"mlp": Reliability.of(np.array([0.99]), np.array([True]))})
    assert to_csv(table).splitlines()[1] == "0.000000,0.066667,0,,"


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (POSITIONS, "transformer", np.nan),
        (POSITIONS, "transformer", -1.0),
        (POSITIONS, "transformer", np.inf),
        (POSITIONS, "transformer", None),
        (POSITIONS, "first", 0),
        (POSITIONS, "first", 99),
        (CALIBRATION, "mlp_tokens", 0),
        (CALIBRATION, "mlp_tokens", -1),
        (CALIBRATION, "mlp_tokens", np.inf),
        (CALIBRATION, "mlp_tokens", None),
        (CALIBRATION, "mlp_accuracy", 1.5),
        (CALIBRATION, "mlp_accuracy", np.nan),
        (CALIBRATION, "mlp_confidence", -0.5),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, table, column, value):
    wrong = table.drop(columns=column) if value is None else table.assign(**{column: value})
    path = tmp_path / "table.csv"
    path.write_text(to_csv(wrong))
    read = read_positions if table is POSITIONS else read_calibration
    with pytest.raises(InputError, match=r"table\.csv: (losses|counts|column|a range)"):
        read(path)
