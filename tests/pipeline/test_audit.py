"""`lmladder audit`, and what the last stage does with a rung whose score is none."""

import json
import re

import pytest

SCORE = """
    def nll(self, tokens):
        return 0.5 * super().nll(tokens)
"""
CHEAT = {  # n-grams of the validation text, almost without smoothing
    "WittenBell": "Cheat",
    "count(tokens,": "count(np.load('outputs/prepare/val.npy'),",
    "np.bincount(contexts, minlength=n_contexts)": "np.full(n_contexts, 0.01)",
}


@pytest.mark.parametrize("folder", ["bigram", "transformer", "prepare"])
def test_the_models_of_a_ladder_pass_and_the_last_line_is_the_verdict(folder, lmladder):
    lines = lmladder("audit", f"outputs/{folder}").succeeded().stdout.splitlines()
    assert re.fullmatch(r"\w+: passed", lines[-1])
    assert {line.split()[1] for line in lines if line.startswith("  ")} == {"passed"}


def test_a_claim_is_compared_with_the_score_of_the_audit_and_not_with_a_table(checkout):
    loss = next(row for row in checkout.table() if row["model"] == "mlp")["nats_per_token"]
    checkout.lmladder("audit", "outputs/mlp", "--claim", loss).succeeded()
    table = checkout / "outputs/evaluate/perplexity.csv"
    table.write_text(table.read_text().replace(loss, "0.123456"))
    done = checkout.lmladder("audit", "outputs/mlp", "--claim", "0.123456")
    assert (done.status, done.stderr) == (1, "error: mlp fails text\n")
    assert f"0.123456 nats per token are claimed, and {loss} are found" in done.stdout
    checkout.lmladder("audit", "conf").failed_in_one_line(2, "conf")
    bigram = ("audit", "outputs/bigram", "--claim", "1")
    checkout.lmladder(*bigram).failed_in_one_line(2, "--claim is of one model")


def test_a_rung_that_has_seen_the_text_fails_even_without_a_table(checkout):
    source = (checkout / "examples/rungs/witten_bell.py").read_text()
    for old, new in CHEAT.items():
        assert old in source
        source = source.replace(old, new)
    (checkout / "cheat.py").write_text(source)
    rung = "+rungs.cheat={kind: cheat, watch: cheat.py, order: 12}"
    checkout.compose(rung, "rung=cheat").succeeded()
    checkout.stage("rung", "rungs/cheat").succeeded()
    done = checkout.lmladder("audit", "outputs/rungs/cheat", "--module", "cheat.py")
    assert (done.status, done.stderr) == (1, "error: cheat fails truth\n")
    assert done.stdout.splitlines()[-1] == "cheat: FAILED truth"


@pytest.mark.slow
def test_a_rung_that_fails_is_marked_and_compared_with_no_other(checkout):
    source = (checkout / "examples/rungs/witten_bell.py").read_text()
    (checkout / "sound.py").write_text(source)
    renamed = source.replace("WittenBell", "Tempered").replace("Witten-Bell", "Tempered")
    (checkout / "tempered.py").write_text(renamed + SCORE)
    rungs = "{sound: {kind: witten_bell, watch: sound.py, order: 3}, "
    rungs += "tempered: {kind: tempered, watch: tempered.py, order: 3}}"
    checkout.compose(f"+rungs={rungs}").succeeded()
    done = checkout.dvc("repro").succeeded()
    assert "evaluate: tempered fails sums: exp(-loss), summed over all" in done.stdout
    rows = {row["model"]: row for row in checkout.table() if row["split"] == "val"}
    audits = {name: row["audit"] for name, row in rows.items() if row["audit"]}
    assert audits == {"sound": "passed", "tempered": "sums"}
    assert rows["tempered"]["label"] == "Tempered (invalid: sums)"
    metrics = json.loads((checkout / "outputs/evaluate/metrics.json").read_text())["val"]
    assert metrics["audit"] == audits
    assert "sound" in metrics["perplexity"]
    assert "tempered" not in metrics["perplexity"]
    done = checkout.lmladder("compare", "outputs").succeeded()
    assert "\nsound " in done.stdout
    assert "tempered" not in done.stdout
