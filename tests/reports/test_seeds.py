"""The tables over seeds."""

from benchmarks.seeds import evaluated, over_seeds, seeds_grid
from lmladder.reports.table import EXCESS, EXCESS_ERROR, read_csv, to_csv
from tests.reports.conftest import SEEDS

import numpy as np


def test_trained_models_have_a_deviation_and_folders_stand_side_by_side(results):
    grid = seeds_grid(results, ["first", "second"])
    assert "mean ± standard deviation over 1-3 seeds" in grid.caption
    trained = [f"Trained on {each}" for each in ("80%: val", "80%: test", "90%: val")]
    assert grid.titles[:5] == ["Model", *trained, "Trained on 90%: val, on crops"]
    rows = {cells[0]: cells[1:] for cells in grid.rows}
    score = f"{np.mean(SEEDS):.4f} ± {np.std(SEEDS, ddof=1):.4f}"
    assert rows["Transformer"][:4] == [score, score, "0.7000", "0.8000"]
    assert rows["Transformer"][5:] == ["1,234,567", "3,000"]
    assert rows["Kneser-Ney 5"][:4] == ["0.8300", "0.8300", "0.8300", ""]
    assert next(iter(rows)) == "Uniform"
    assert [*rows][-2:] == ["Transformer", "Oracle"]


def test_the_excess_is_the_mean_over_seeds_with_their_deviation(results):
    folders = evaluated(results / "first")
    for excess, folder in zip(SEEDS, folders, strict=True):
        table = read_csv(folder / "perplexity.csv")
        table[EXCESS], table[EXCESS_ERROR] = excess, 1e-6
        (folder / "perplexity.csv").write_text(to_csv(table))
    found = over_seeds(folders)
    np.testing.assert_allclose(found[EXCESS], np.mean(SEEDS))
    np.testing.assert_allclose(found[EXCESS_ERROR], np.std(SEEDS, ddof=1))
