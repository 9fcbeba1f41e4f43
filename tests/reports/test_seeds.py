"""The tables over seeds."""

from lmladder.reports import findings, seeds_grid, to_csv
from lmladder.reports.readme import main
from lmladder.reports.seeds import evaluated, over_seeds
from lmladder.system.errors import InputError

import numpy as np
import pytest
import yaml

NATS = (0.7, 0.72, 0.77)  # of the Transformer, with three seeds


def lock(share):
    prepare, evaluate = {"data": {"split": {"train": share}}}, {"seed": 0}
    stages = {
        name: {"params": {"params.yaml": values}}
        for name, values in (("prepare", prepare), ("evaluate", evaluate))
    }
    return yaml.safe_dump({"schema": "2.0", "stages": stages})


@pytest.fixture
def results(tmp_path, table):
    """Two folders: of three seeds, and of one seed and one split."""
    for name, share, seeds in (("first", 0.8, NATS), ("second", 0.9, NATS[:1])):
        for seed, nats in enumerate(seeds):
            changed = table.copy() if name == "first" else table[table["split"] == "val"].copy()
            changed.loc[changed["model"] == "transformer", "nats_per_token"] = nats
            changed.loc[changed["model"] == "transformer", "crop_nats_per_token"] = nats + 0.1
            folder = tmp_path / "results" / name / f"seed{seed}"
            (folder / "outputs/evaluate").mkdir(parents=True)
            (folder / "outputs/evaluate/perplexity.csv").write_text(to_csv(changed))
            (folder / "dvc.lock").write_text(lock(share))
    return tmp_path / "results"


def test_trained_models_have_a_deviation_and_the_others_none(results):
    grid = seeds_grid(results, ["first"])
    assert grid.caption == (
        "first: nats per token, mean ± standard deviation over 3 seeds; perplexity of the last text"
    )
    assert grid.titles[1:4] == [
        "Trained on 80%: val", "Trained on 80%: test", "Trained on 80%: test, on crops",
    ]  # fmt: skip
    rows = {cells[0]: cells[1:] for cells in grid.rows}
    score = f"{np.mean(NATS):.4f} ± {np.std(NATS, ddof=1):.4f}"
    crops = f"{np.mean(NATS) + 0.1:.4f} ± {np.std(NATS, ddof=1):.4f}"
    perplexity = f"{np.exp(np.mean(NATS)):.4g}"
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


def test_a_readme_has_the_table(results, table):
    evaluate = results.parent / "outputs/evaluate"
    evaluate.mkdir(parents=True)
    (evaluate / "perplexity.csv").write_text(to_csv(table))
    readme = results.parent / "README.md"
    part = "<!-- generated: seeds {} -->\n<!-- end generated -->\n"
    readme.write_text(part.format("first second") + part.format("first third"))
    with readme.open("a") as file:
        file.write("<!-- generated: findings second -->\n<!-- end generated -->\n")
    assert main([str(readme)]) == 0
    assert findings(over_seeds(evaluated(results / "second"))) in readme.read_text()
    assert "**first, second: nats per token, mean" in readme.read_text()
    assert "± 0.0361 |" in readme.read_text()
    assert "There are no results yet; run `make third`." in readme.read_text()


def test_what_is_missing_is_named(results):
    with pytest.raises(InputError, match="shakespeare has no results; run: make shakespeare"):
        seeds_grid(results, ["shakespeare"])
    (results / "first/seed0/dvc.lock").unlink()
    with pytest.raises(InputError, match=r"seed0 has no dvc\.lock"):
        seeds_grid(results, ["first"])
