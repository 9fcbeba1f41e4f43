"""Scaling laws: a known law is recovered, runs are read right, and the page has their numbers."""

import math
import re
from dataclasses import astuple
from pathlib import Path

from lmladder.system.errors import InputError
from lmladder.training.loop import train
from tests.data.examples import prepared_text
from tests.training.examples import CHARACTERS, make_run

import numpy as np
import pytest

pytest.importorskip("scipy", reason="of the extra `bench`")

from benchmarks import scaling
from benchmarks.scaling_laws import METHODS, Law, Points, fit

LAW = Law(E=0.19, A=30.0, a=0.5, B=400.0, b=0.6)
SIZES, TOKENS = np.array([2e4, 6e4, 2e5, 6e5]), np.array([2e5, 4e5, 8e5, 1.6e6])


def points(noise: float = 0.0, seeds: int = 1) -> Points:
    """Return runs of all sizes and lengths, with an excess that is wrong by a factor at random."""
    sizes, tokens = (each.ravel() for each in np.meshgrid(np.repeat(SIZES, seeds), TOKENS))
    factors = np.exp(noise * np.random.default_rng(0).standard_normal(len(sizes)))
    return np.stack([sizes, tokens, LAW.E + (LAW.loss(sizes, tokens) - LAW.E) * factors])


@pytest.mark.parametrize("method", METHODS)
def test_a_law_is_recovered_from_losses_that_follow_it(method: str) -> None:
    law = fit(points(), method, LAW.E, resamples=20).law
    np.testing.assert_allclose(astuple(law), astuple(LAW), rtol=2e-2)
    flops = 1e12
    best = float(law.optimum(flops)[0])
    sizes = best * np.array([0.9, 1.0, 1.1])
    assert law.loss(sizes, flops / 6 / sizes).argmin() == 1
    assert best * 10**law.growth == pytest.approx(float(law.optimum(10 * flops)[0]))


def test_a_known_entropy_makes_intervals_narrower() -> None:
    widths = []
    for method in ("known", "projection"):
        found = fit(points(0.03, seeds=3), method, LAW.E, resamples=100)
        low, high = found.interval(lambda law: law.E)
        assert low <= LAW.E <= high
        widths.append(np.ptp(found.interval(lambda law: law.b)))
    assert widths[0] < widths[1]


def test_too_few_sizes_or_lengths_are_rejected() -> None:
    runs = points()
    with pytest.raises(InputError, match="there are 8, of 2 and 4"):
        fit(runs[:, runs[0] <= SIZES[1]], "projection", resamples=20)


def test_runs_are_scored_once_and_micro_batches_divide_a_batch(tmp_path: Path) -> None:
    prepared = prepared_text(tmp_path / "prepare", (CHARACTERS + "a bad head had a bed ") * 40)
    for folder, parts in (("one", 1), ("two", 2)):
        given = {"data": prepared.digest, "gradient_accumulation_steps": parts}
        train(make_run(tmp_path / folder, **given))
    runs = scaling.read_runs(tmp_path, tmp_path / "prepare")
    assert runs["tokens"].tolist() == [6 * 4 * 6] * 2  # steps, sequences of a batch, tokens of each
    assert runs["size"].lt(runs["parameters"]).all()
    assert math.isnan(runs["entropy"].iloc[0])
    (table := tmp_path / "scaling.csv").write_text(table.read_text().replace("mlp", "same"))
    again = scaling.read_runs(tmp_path, tmp_path / "prepare")
    assert set(again["model"]) == {"same"}
    train(make_run(tmp_path / "three", data="of another text"))
    with pytest.raises(InputError, match=r"three.* was trained on another text"):
        scaling.read_runs(tmp_path, tmp_path / "prepare")


def test_the_committed_tables_give_the_numbers_of_the_page() -> None:
    page = (scaling.RESULTS.parents[1] / "docs/scaling.md").read_text()

    def estimates(text: str) -> list[str]:
        return re.sub(r" \[.*?\]", "", text).split()  # without intervals, which take long

    for made in ("laws", "predictions", "entropies"):
        ((names, block),) = re.findall(
            rf"<!-- generated: {made} (.*?) -->(.*?)<!--", page, re.DOTALL
        )
        studies = [scaling.committed(name, resamples=1) for name in names.split()]
        assert estimates(getattr(scaling, made)(studies)) == estimates(block), made
