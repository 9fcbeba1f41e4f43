"""The tables over seeds."""

from lmladder.reports import seeds_grid
from lmladder.reports.seeds import evaluated, over_seeds
from lmladder.system.errors import InputError
from tests.reports.conftest import SEEDS

import numpy as np
import pytest


def test_trained_models_have_a_deviation_and_the_others_none(results):
    grid = seeds_grid(results, ["first"])
    assert grid.caption == (
        "first: nats per token, mean ± standard deviation over 3 seeds; perplexity of the last text"
    )
    assert grid.titles[1:4] == [
        "Trained on 80%: val", "Trained on 80%: test", "Trained on 80%: test, on crops",
    ]  # fmt: skip
    rows = {cells[0]: cells[1:] for cells in grid.rows}
    score = f"{np.mean(SEEDS):.4f} ± {np.std(SEEDS, ddof=1):.4f}"
    crops = f"{np.mean(SEEDS) + 0.1:.4f} ± {np.std(SEEDS, ddof=1):.4f}"
    perplexity = f"{np.exp(np.mean(SEEDS)):.4g}"
    assert rows["Transformer"] == [
        score, score, crops, perplexity, "1,234,567", "3,000",
    ]  # fmt: skip
    assert rows["Kneser-Ney 5"][:3] == ["0.8300", "0.8300", ""]
    assert next(iter(rows)) == "Uniform"
    assert list(rows)[-2:] == ["Transformer", "Oracle"]


def test_folders_stand_side_by_side(results):
    grid = seeds_grid(results, ["first", "second"])
    assert grid.titles[3:5] == ["Trained on 90%: val", "Trained on 90%: val, on crops"]
    (cells,) = (cells for cells in grid.rows if cells[0] == "Transformer")
    assert cells[3:5] == ["0.7000", "0.8000"]
    assert {len(cells) for cells in grid.rows} == {len(grid.titles)}


def test_the_mean_of_one_seed_is_its_table(results, table):
    means = over_seeds(evaluated(results / "second"))
    val = table[table["split"] == "val"]
    assert list(means["model"]) == list(val["model"])
    np.testing.assert_allclose(means["bits_per_byte"], val["bits_per_byte"])


def test_what_is_missing_is_named(results):
    with pytest.raises(InputError, match="shakespeare has no results; run: make shakespeare"):
        seeds_grid(results, ["shakespeare"])
    (results / "first/seed0/outputs/evaluate/scores.json").unlink()
    with pytest.raises(InputError, match=r"cannot read .*seed0/outputs/evaluate/scores\.json"):
        seeds_grid(results, ["first"])
