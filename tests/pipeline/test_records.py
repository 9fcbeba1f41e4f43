"""Results keep the settings that they were made with, whatever else runs in their folders."""

import json

from lmladder.experiments import find_runs
from lmladder.system.files import work_folder
from lmladder.system.locks import locked
from lmladder.training.loop import UNFINISHED


def test_a_run_that_is_refused_invalid_or_unfinished_changes_no_result(checkout):
    before = checkout.outputs()
    with locked(checkout / "outputs/transformer"):
        checkout.compose("transformer.d_model=64").succeeded()
        checkout.stage("transformer").failed_in_one_line(1, "is in use")
    checkout.stage("bigram").succeeded()  # the same bytes, as it does not depend on that setting
    checkout.stage("evaluate").failed_in_one_line(2, "other settings")
    odd = ("transformer.n_head=3", "hydra.run.dir=outputs/evaluate")
    checkout.by_hand("evaluate", "experiment=smoke", *odd).failed_in_one_line(2, "n_head=3")
    (work_folder(checkout / "outputs/transformer") / UNFINISHED).touch()
    runs = find_runs([checkout / "outputs"]).runs
    of_both = [run for run in runs if run.model == "transformer"]
    assert {run.path.name for run in of_both} == {"transformer", "evaluate"}
    assert {run.settings["transformer.d_model"] for run in of_both} == {16}
    assert checkout.outputs().items() >= before.items()  # Hydra adds a log


def test_an_earlier_result_keeps_the_text_that_it_was_made_with(checkout):
    checkout.compose("data.characters=70000")
    for stage in ("prepare", "bigram"):
        checkout.stage(stage).succeeded()
    runs = find_runs([checkout / "outputs"]).runs
    found = {(run.path.name, run.settings["data.characters"]) for run in runs}
    assert found == {
        ("bigram", 70000), ("mlp", 60000), ("transformer", 60000), ("evaluate", 60000),
    }  # fmt: skip


def test_a_run_by_hand_records_its_overrides_and_the_test_split_is_no_validation_score(checkout):
    options = ("experiment=smoke", "evaluate.splits=[test]")
    checkout.by_hand("evaluate", *options, "hydra.run.dir=outputs/runs/test").succeeded()
    assert {row["split"] for row in checkout.table("outputs/runs/test/perplexity.csv")} == {"test"}
    record = json.loads((checkout / "outputs/runs/test/scores.json").read_text())
    assert record["overrides"] == [*options]
    assert record["models"] == []
    assert "threads" not in record["settings"]["runtime"]
    assert json.loads((checkout / "outputs/mlp/scores.json").read_text())["overrides"] == []
