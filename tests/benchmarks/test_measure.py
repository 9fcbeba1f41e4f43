"""The plumbing that all benchmarks share."""

import mmap
import sys

from benchmarks import compare, measure
from benchmarks.shapes import SIZES

import pytest


def test_the_exponent_of_a_power_law_is_found() -> None:
    sizes = [1, 2, 4, 8]
    assert measure.exponent(sizes, [3 * size**1.5 for size in sizes]) == 1.5
    assert measure.exponent([1, 2], [1.0, None]) is None


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


@pytest.mark.parametrize("change", ["widht=3", "width=0"])
def test_a_change_that_is_none_is_refused(change: str) -> None:
    with pytest.raises(ValueError, match="is not KEY=NUMBER with a key of vocabulary, context,"):
        SIZES["nano"].changed([change])


def test_ratios_name_their_peer_and_target() -> None:
    times = {"lmladder": 2.0, "torch": 4.0, "compile": 2.5, "jax": 1.0}
    assert compare.ratios("micro", times) == "0.50 of torch (0.18), 2.00 of jax (1.2)"
    assert compare.ratios("nano", times) == "0.50 of torch (0.75)"
    assert compare.ratios("nano", {"lmladder": 2.0}) == "-"


def test_a_row_has_the_best_of_all_rounds_and_losses_are_compared() -> None:
    run = {"min_ms": 2.0, "peak_mib": 10.0, "gflops_per_second": 50.0, "losses": [1.0]}
    peer = {"min_ms": 4.0, "peak_mib": None, "gflops_per_second": 25.0, "losses": [1.001]}
    runs = {("nano", "lmladder"): [run], ("nano", "torch"): [peer]}
    row = compare.row("nano", runs, ["lmladder", "torch"])
    assert (row["ratio (target)"], row["GFLOP/s"]) == ("0.50 of torch (0.75)", 50.0)
    assert compare.disagreement("nano", runs) == pytest.approx(1e-3)
