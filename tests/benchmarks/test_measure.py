"""The plumbing that all benchmarks share."""

import mmap
import subprocess
import sys
from pathlib import Path

from benchmarks import compare, measure
from benchmarks.shapes import SIZES

import pytest


def test_the_exponent_of_a_power_law_is_found() -> None:
    sizes = [1, 2, 4, 8]
    assert measure.exponent(sizes, [3 * size**1.5 for size in sizes]) == 1.5
    assert measure.exponent([1, 2], [1.0, None]) is None


def test_a_table_has_a_line_a_result_and_its_numbers_to_the_right() -> None:
    table = measure.markdown([{"name": "a", "ms": 1.23456}, {"name": "b", "ms": None}])
    assert table == "| name | ms |\n| --- | ---: |\n| a | 1.235 |\n| b | - |\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the memory of a process")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    measure.forget_peak()
    base = measure.resident_mib()
    with mmap.mmap(-1, 64 << 20) as block:  # malloc might have as much in store
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    grown = measure.above(base, measure.peak_mib())
    measure.forget_peak()
    after = measure.above(measure.resident_mib(), measure.peak_mib())
    assert grown is not None
    assert after is not None
    assert grown > 60
    assert after < 4


def test_an_engine_that_is_not_there_is_one_line_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("raise ImportError('no JAX in this test')")
    program = measure.FOLDER / "train_step.py"
    done = subprocess.run(
        [sys.executable, program, "--config", "micro", "--engine", "jax"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: engine 'jax' is not available: no JAX in this test\n"


@pytest.mark.parametrize("change", ["widht=3", "width", "width=0", "width=-1", "width=x"])
def test_a_change_that_is_none_is_refused(change: str) -> None:
    with pytest.raises(ValueError, match="is not KEY=NUMBER with a key of vocabulary, context,"):
        SIZES["nano"].changed([change])


def test_ratios_name_their_peer_and_target() -> None:
    times = {"lmladder": 2.0, "torch": 4.0, "compile": 2.5, "jax": 1.0}
    assert compare.ratios("micro", times) == "0.50 of torch (0.5), 2.00 of jax (1.2)"
    assert compare.ratios("nano", times) == "2.00 of jax (0.8)"
    assert compare.ratios("nano", {"lmladder": 2.0}) == "-"


def test_the_share_is_of_the_rate_of_the_same_run() -> None:
    run = {"min_ms": 2.0, "peak_mib": 10.0, "gflops_per_second": 50.0, "losses": [1.0]}
    peer = {"min_ms": 4.0, "peak_mib": None, "gflops_per_second": 25.0, "losses": [1.001]}
    runs = {("nano", "lmladder"): [run], ("nano", "torch"): [peer]}
    row = compare.row("nano", runs, ["lmladder", "torch"], machine=200.0)
    assert row == {
        "config": "nano",
        "lmladder ms": 2.0,
        "torch ms": 4.0,
        "ratio (target)": "0.50 of torch (0.8)",
        "lmladder MiB": 10.0,
        "torch MiB": None,
        "GFLOP/s": 50.0,
        "share of the machine's": "25%",
    }
    assert compare.disagreement("nano", runs) == pytest.approx(1e-3)


def test_a_run_beside_busy_programs_is_told() -> None:
    best = {"a": {"others_cores": 0.9}, "b": {"others_cores": 0.0}, "c": {"others_cores": None}}
    assert compare.spoilt(best) == ["a (0.9 cores)"]
