"""Mixtures: rungs like the others in every result, which depend on the rungs of their members."""

import json

import pytest


def mixture(members, weights_by):
    settings = (f"members=[{members}]", f"weights_by=[{weights_by}]")
    return ("+mixture@mixtures.both=default", *(f"mixtures.both.{each}" for each in settings))


OF_TWIN = mixture("kneser_ney_3,transformer,twin", "twin")
OF_ALL = mixture("kneser_ney_3,mlp,oracle,transformer", "kneser_ney_3,mlp")
TWIN = "+rungs.twin=${with_seed:transformer,7}"
CHECKPOINT = "outputs/mixtures/both/checkpoint.safetensors"


@pytest.mark.slow
def test_a_mixture_is_in_every_result_and_follows_its_members(checkout):
    checkout.compose(TWIN, *OF_TWIN).succeeded()
    ran = checkout.dvc("repro").succeeded().stages_run
    assert ran == ["rung@twin", "mixture@both", "evaluate"]
    scores = {(row["model"], row["split"]): row for row in checkout.table()}
    assert scores["twin", "val"]["perplexity"] != scores["transformer", "val"]["perplexity"]
    members = [scores[name, "val"] for name in ("kneser_ney_3", "transformer", "twin")]
    found = scores["both", "val"]
    assert int(found["parameters"]) == sum(int(each["parameters"]) for each in members)
    assert found["steps"] == ""
    for name in ("position.csv", "calibration.csv"):
        assert any("both" in str(row) for row in checkout.table(f"outputs/evaluate/{name}"))
    assert "== both ==" in (checkout / "outputs/evaluate/samples.txt").read_text()

    sample = ("sample", CHECKPOINT, "--tokens", 20)
    first, again = (checkout.lmladder(*sample).succeeded().stdout for _ in range(2))
    assert first == again
    for command in ("score --text Once", "inspect"):
        name, *options = command.split()
        assert "both" in checkout.lmladder(name, CHECKPOINT, *options).succeeded().stdout
    done = checkout.lmladder("verify", "outputs/mixtures/both").succeeded()
    assert "the same weights" in done.stdout
    assert "both" in checkout.lmladder("compare", "outputs").succeeded().stdout
    weights = json.loads((checkout / "outputs/mixtures/both/weights.json").read_text())
    assert weights["members"] == ["kneser_ney_3", "transformer", "twin"]

    checkout.compose(TWIN.replace("7", "8"), *OF_TWIN).succeeded()
    checkout.stage("evaluate").failed_in_one_line(2, "outputs/rungs/twin", "dvc repro rung@twin")
    checkout.dvc("repro", "rung@twin").succeeded()
    checkout.stage("evaluate").failed_in_one_line(2, "mixtures/both", "dvc repro mixture@both")
    assert checkout.dvc("repro").succeeded().stages_run == ["mixture@both", "evaluate"]
    checkout.compose()
    assert checkout.dvc("repro").succeeded().stages_run == ["evaluate"]
    assert "both" not in {row["model"] for row in checkout.table()}


@pytest.mark.slow
def test_a_mixture_is_a_part_of_a_ladder_in_one_process_and_in_sweeps(checkout):
    options = ("experiment=smoke", *OF_ALL)
    checkout.by_hand("ladder", "-m", *options).succeeded()
    (table,) = (checkout / "outputs/sweeps/ladder").rglob("perplexity.csv")
    rows = checkout.table(table)
    assert len([row for row in rows if row["model"] == "both"]) == 2
    # The mixture contains the oracle, which cannot read crops: their windows are as without it.
    crops = {row["model"]: row["crop_nats_per_token"] for row in rows if row["split"] == "test"}
    plain = {row["model"]: row["crop_nats_per_token"] for row in checkout.table()}
    assert crops == {**plain, "both": ""}
    assert (table.parent / "position.csv").read_text() == (
        checkout / "outputs/evaluate/position.csv"
    ).read_text()
    excess = {row["model"]: row["excess_nats_per_token"] for row in rows if row["split"] == "test"}
    assert 0 < float(excess["both"]) < float(excess["kneser_ney_3"])
    again = checkout.by_hand("ladder", "-m", *options).succeeded()
    assert "already finished" in again.stdout


def test_a_member_that_is_unknown_or_was_not_trained_is_named(checkout):
    checkout.compose("+rungs.a=${with_seed:mlp,1}", *mixture("a", ""), "rung=both").succeeded()
    line = checkout.stage("mixture", "mixtures/both").failed_in_one_line(2, "outputs/rungs/a")
    assert "run `dvc repro rung@a`" in line
    checkout.compose(*mixture("kneser_ney_9", ""), "rung=both").succeeded()
    line = checkout.stage("mixture", "mixtures/both").failed_in_one_line(2, "mixtures.both.members")
    assert "unknown model 'kneser_ney_9'" in line
    checkout.compose("rung=null").succeeded()
    checkout.stage("mixture", "mixtures/both").failed_in_one_line(2, "rung is missing")
