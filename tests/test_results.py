"""The committed tables are ladders: what the README shows, held to what it claims."""

from itertools import pairwise
from pathlib import Path

from lmladder.config.composing import composed, plain
from lmladder.experiments import find_runs
from lmladder.reports.table import read_csv
from lmladder.system.settings import dotted
from tests.pipeline.conftest import PROJECT

import pandas as pd
import pytest
import yaml

TABLE = read_csv(PROJECT / "outputs/evaluate/perplexity.csv")
KEPT = sorted((PROJECT / "results").glob("*/seed*"))  # what `make results` made


def rows(split: str) -> pd.DataFrame:
    return TABLE[TABLE["split"] == split].set_index("model")


@pytest.mark.parametrize("split", ["val", "test"])
def test_scores_fall_and_the_transformer_is_a_tenth_below_the_best_count_model(split: str) -> None:
    ladder = ["uniform", "unigram", "bigram", "mlp", "transformer"]
    bits = rows(split)["bits_per_byte"]
    assert all(bits[lower] < bits[upper] for upper, lower in pairwise(ladder))
    counted = bits[[model for model in bits.index if model.startswith("kneser_ney")]]
    assert bits["transformer"] <= 0.9 * counted.min()


@pytest.mark.parametrize("split", ["val", "test"])
def test_no_model_beats_the_oracle_by_more_than_its_standard_error(split: str) -> None:
    nats, errors = rows(split)["nats_per_token"], rows(split)["standard_error"]
    assert nats.drop("oracle").min() > nats["oracle"] - errors["oracle"]


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_kept_results_are_of_the_settings_of_today_and_not_edited(folder: Path) -> None:
    name, seed = folder.parent.name, folder.name.removeprefix("seed")
    preset = "data=tales" if name == "tales" else f"experiment={name}"
    now = dotted(plain(composed(PROJECT / "conf", [preset, f"seed={seed}"])))
    then = dotted(yaml.safe_load((folder / "params.yaml").read_text()))
    assert then.items() <= now.items()  # settings may have been added since then
    if (folder / "outputs/evaluate/scores.json").exists():
        assert find_runs([folder]).notes == []


TALES = PROJECT / "results/tales/seed0"


@pytest.mark.skipif(not TALES.exists(), reason="`make tales` has not been run")
def test_the_first_seed_of_tales_is_the_pipeline_itself() -> None:
    table = "outputs/evaluate/perplexity.csv"
    kept = TALES / table
    assert kept.read_bytes() == (PROJECT / table).read_bytes()
