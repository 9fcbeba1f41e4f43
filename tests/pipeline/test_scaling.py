"""`lmladder scaling` on trained models: exact losses, sizes, and a table that grows."""

import pytest


def test_runs_are_scored_once_as_the_table_of_a_ladder_scores_them(checkout):
    options = ("scaling", "outputs", "--min-context", 0.5)
    failed = checkout.lmladder(*options)
    assert failed.status == 2
    assert "there are 1, of 1 and 1" in failed.stderr  # a law cannot be fitted to one run
    scored = {each["model"]: each for each in checkout.table("outputs/scaling.csv")}
    expected = {
        each["model"]: each
        for each in checkout.table()
        if each["split"] == "val" and each["model"] in scored
    }
    oracle = next(each for each in checkout.table() if each["model"] == "oracle")
    assert scored.keys() == expected.keys() == {"mlp", "transformer"}
    for name, each in scored.items():
        assert float(each["loss"]) == pytest.approx(float(expected[name]["nats_per_token"]))
        assert float(each["entropy"]) == pytest.approx(float(oracle["nats_per_token"]), abs=1e-5)
        assert each["parameters"] == expected[name]["parameters"]
        assert int(each["size"]) < int(each["parameters"])
    table = checkout / "outputs/scaling.csv"
    table.write_text(table.read_text().replace(scored["mlp"]["loss"], "1.5"))
    checkout.lmladder(*options)
    assert checkout.table("outputs/scaling.csv")[0]["loss"] == "1.5"
    trained = checkout / "outputs/transformer/trained.json"
    content = trained.read_text()
    trained.write_text("{}")
    checkout.lmladder(*options).failed_in_one_line(2, "outputs/transformer/trained.json is damaged")
    trained.write_text(content)
    assert {each["model"] for each in checkout.table("outputs/scaling.csv")} == scored.keys()
    checkout.lmladder("scaling", "outputs", "--min-context", 0.7)
    assert {each["min_context"] for each in checkout.table("outputs/scaling.csv")} == {"0.7"}


def test_runs_of_another_text_are_rejected(checkout):
    checkout.run("python", "stages/compose.py", "experiment=smoke", "data.seed=1").succeeded()
    checkout.dvc("repro", "prepare").succeeded()
    failed = checkout.lmladder("scaling", "outputs")
    assert failed.status == 2
    assert "was trained on another text than that of" in failed.stderr
