"""Results keep the settings that they were made with, whatever else runs in their folders."""

import json

from lmladder.experiments import find_runs
from lmladder.system.locks import locked


def settings(checkout, key, folder="outputs"):
    """Return the values of a setting in the runs of the Transformer."""
    runs = find_runs([checkout / folder]).runs
    return {run.settings[key] for run in runs if run.model == "transformer"}


def test_a_run_that_is_refused_does_not_relabel_results(checkout):
    wider = ("experiment=smoke", "transformer.d_model=64")
    with locked(checkout / "outputs/transformer"):
        where = "hydra.run.dir=outputs/transformer"
        checkout.by_hand("transformer", *wider, where).failed_in_one_line(1, "is in use")
    where = "hydra.run.dir=outputs/evaluate"
    checkout.by_hand("evaluate", *wider, where).failed_in_one_line(2, "other settings")
    odd = "transformer.n_head=3"
    checkout.by_hand("evaluate", "experiment=smoke", odd, where).failed_in_one_line(2, "n_head=3")
    assert settings(checkout, "transformer.d_model") == {16}
    assert settings(checkout, "transformer.n_head") == {2}
    assert not list((checkout / "outputs").rglob(".hydra"))


def test_an_earlier_result_keeps_the_text_that_it_was_made_with(checkout):
    before = settings(checkout, "data.characters")
    checkout.compose("data.characters=70000")
    for stage in ("prepare", "bigram"):
        checkout.stage(stage).succeeded()
    runs = find_runs([checkout / "outputs"]).runs
    found = {run.settings["data.characters"] for run in runs if run.path.name == "bigram"}
    assert found == {70000}
    assert settings(checkout, "data.characters") == before


def test_an_unfinished_run_changes_no_result(checkout):
    before = checkout.lmladder("compare", "outputs", "--json").succeeded().stdout
    (checkout / "outputs/transformer/unfinished.safetensors").touch()
    assert checkout.lmladder("compare", "outputs", "--json").succeeded().stdout == before
    checkout.lmladder("verify", "outputs/transformer").succeeded()


def test_the_curves_are_those_of_the_checkpoints(smoke, checkout):
    path = checkout / "outputs/mlp/history.csv"
    path.write_text(path.read_text().replace("4.", "1."))
    checkout.stage("evaluate").succeeded()
    for name in ("loss_curves.svg", "report.html", "scores.json"):
        path = f"outputs/evaluate/{name}"
        assert (checkout / path).read_bytes() == (smoke / path).read_bytes()


def test_a_run_by_hand_records_its_overrides_and_a_test_split_alone_has_no_scores(checkout):
    where = "hydra.run.dir=outputs/runs/test"
    options = ("experiment=smoke", "evaluate.splits=[test]", where)
    checkout.by_hand("evaluate", *options).succeeded()
    record = json.loads((checkout / "outputs/runs/test/scores.json").read_text())
    assert record["overrides"] == ["experiment=smoke", "evaluate.splits=[test]"]
    assert record["models"] == []
    assert "threads" not in record["settings"]["runtime"]
    assert json.loads((checkout / "outputs/mlp/scores.json").read_text())["overrides"] == []
