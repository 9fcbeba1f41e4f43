"""Scaling laws: fits of losses that follow a law, and what is rejected."""

import csv
import json
import re
import sys
from dataclasses import asdict, replace

from lmladder.cli import main as cli
from lmladder.experiments.scaled_runs import ScaledRun, read_runs, study
from lmladder.experiments.scaling import METHODS, Law, Points, fit
from lmladder.system.errors import InputError

import numpy as np
import pytest

LAW = Law(E=0.19, A=30.0, a=0.5, B=400.0, b=0.6)
SIZES, TOKENS = np.array([2e4, 6e4, 2e5, 6e5]), np.array([2e5, 4e5, 8e5, 1.6e6])


def points(noise=0.0, seeds=1, law=LAW, rng=None):
    """Return runs of all sizes and lengths, with an excess that is wrong by a factor at random."""
    sizes, tokens = (each.ravel() for each in np.meshgrid(np.repeat(SIZES, seeds), TOKENS))
    excess = law.loss(sizes, tokens) - law.E
    factors = np.exp(noise * (rng or np.random.default_rng(0)).standard_normal(len(sizes)))
    return Points(sizes, tokens, law.E + excess * factors)


@pytest.mark.parametrize("method", METHODS)
def test_a_law_is_recovered_from_losses_that_follow_it(method):
    law = fit(points(), method, LAW.E, resamples=20).law
    expected = np.array([*asdict(LAW).values()])
    np.testing.assert_allclose([*asdict(law).values()], expected, rtol=2e-2)
    np.testing.assert_allclose(law.loss(SIZES, TOKENS), LAW.loss(SIZES, TOKENS), atol=2e-4)


def test_an_interval_of_the_entropy_has_the_truth_and_is_wider_with_more_noise():
    fits = [fit(points(noise, seeds=3), "projection", resamples=100) for noise in (0.01, 0.04)]
    widths = []
    for each in fits:
        low, high = each.interval(lambda law: law.E)
        assert low < LAW.E < high
        widths.append(high - low)
    assert widths[0] < widths[1] / 2


def test_a_known_entropy_makes_the_interval_of_an_exponent_narrower():
    runs = points(0.03, seeds=3)
    widths = [
        np.ptp(fit(runs, each, LAW.E, resamples=100).interval(lambda law: law.b))
        for each in ("known", "projection")
    ]
    assert widths[0] < widths[1]


def test_the_best_size_for_a_compute_has_the_lowest_loss():
    flops = 1e12
    best = float(LAW.optimum(np.array(flops))[0])
    sizes = best * np.array([0.9, 1.0, 1.1])
    losses = LAW.loss(sizes, flops / 6 / sizes)
    assert losses.argmin() == 1
    assert best * 10**LAW.growth == pytest.approx(float(LAW.optimum(np.array(10 * flops))[0]))


@pytest.mark.parametrize("key", ["sizes", "tokens"])
def test_too_few_sizes_or_lengths_are_rejected(key):
    runs = points()
    few = getattr(runs, key) <= np.unique(getattr(runs, key))[1]
    with pytest.raises(
        InputError, match="of 3 sizes and 3 numbers of tokens at least; there are 8"
    ):
        fit(runs.chosen(few), "projection", resamples=20)


def scaled_runs(noise=0.02, **changes):
    runs = points(noise, seeds=2)
    return [
        replace(
            ScaledRun("transformer", f"size={size:g} seed={index}", index, int(size) + 5, int(size),
                      int(tokens), round(loss, 6), LAW.E, 0.8, "text", f"run {index}"), **changes)
        for index, (size, tokens, loss) in enumerate(
            zip(runs.sizes, runs.tokens, runs.losses, strict=True))
    ]  # fmt: skip


def test_runs_that_are_held_out_are_predicted_and_not_fitted():
    runs = scaled_runs()
    found = study("tales", runs, "size=600000", 50)
    rest = study("tales", [each for each in runs if each.size < 600000], None, 50)
    assert [each.law for each in found.fits.values()] == [each.law for each in rest.fits.values()]
    assert len(found.predictions) == len(METHODS) * len(TOKENS)
    for each in found.predictions:
        assert each.low < each.loss < each.high
        assert each.loss == pytest.approx(each.measured, rel=0.1)
    for each in rest.predictions:  # of four times the compute of the largest
        assert 6 * each.size * each.tokens == pytest.approx(4 * 6 * 2e5 * 1.6e6)


def test_without_a_known_entropy_it_is_fitted_only():
    assert [*study("book", scaled_runs(entropy=None), None, 20).fits] == ["huber", "projection"]


@pytest.mark.parametrize(
    ("runs", "held_out", "message"),
    [
        (scaled_runs(), "size=1", "no run has the override size=1"),
        ([*scaled_runs(), replace(scaled_runs()[0], text="other")], None, "on different texts"),
        ([replace(each, overrides="x=1") for each in scaled_runs()], "x=1", "all runs have"),
    ],
)
def test_studies_that_make_no_sense_are_rejected(runs, held_out, message):
    with pytest.raises(InputError, match=message):
        study("tales", runs, held_out, 20)


def write(path, runs):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*asdict(runs[0])])
        writer.writeheader()
        writer.writerows(map(asdict, runs))
    return path


def scaling(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lmladder", "scaling", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_the_command_prints_laws_and_draws_figures(tmp_path, monkeypatch, capsys):
    table = write(tmp_path / "tales.csv", scaled_runs())
    figures = tmp_path / "figures"
    assert scaling(monkeypatch, table, "--resamples", 20, "-o", figures, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["fits"]["known"]["E"] == LAW.E
    assert len(found["frontier"]) == 4 * len(METHODS)
    low, high = found["fits"]["huber"]["intervals"]["E"]
    assert low < found["fits"]["huber"]["E"] < high
    names = {each.name for each in figures.iterdir()}
    assert names == {"tales_loss.svg", "tales_frontier.svg", "entropy.svg"}
    assert scaling(monkeypatch, table, "--resamples", 20, "--held-out", "size=600000") == 0
    shown = capsys.readouterr().out
    assert re.search(r"^tales +24 +known +0\.1900 ", shown, re.MULTILINE)
    for line in shown.partition("6 N D")[2].splitlines()[1 : 1 + 4 * len(METHODS)]:
        compute, size, tokens, _ = (float(each.replace(",", "")) for each in line.split()[2:])
        assert compute == pytest.approx(6 * size * tokens, rel=0.06)
    assert shown.count(" 600,000 ") == len(METHODS) * len(TOKENS)


def test_a_law_that_depends_on_nothing_has_no_best_size(tmp_path, monkeypatch, capsys):
    runs = [replace(each, loss=LAW.E - 0.01) for each in scaled_runs()]
    table, figures = write(tmp_path / "flat.csv", runs), tmp_path / "figures"
    assert scaling(monkeypatch, table, "--resamples", 20, "-o", figures, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["fits"]["known"]["A"] == 0
    assert {each["size"] for each in found["frontier"] if each["method"] == "known"} == {None}
    assert scaling(monkeypatch, table, "--resamples", 20) == 0


@pytest.mark.parametrize("content", ["", "model,loss\na,1\n", "model,loss\n"])
def test_a_file_that_is_no_table_is_rejected(tmp_path, monkeypatch, capsys, content):
    (tmp_path / "odd.csv").write_text(content)
    assert scaling(monkeypatch, tmp_path / "odd.csv") == 2
    assert "odd.csv" in capsys.readouterr().err


def test_a_table_is_read_as_it_was_written(tmp_path):
    runs = scaled_runs(entropy=None)
    assert read_runs(write(tmp_path / "runs.csv", runs), 0.8, []) == runs
