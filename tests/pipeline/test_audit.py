"""`lmladder audit`, and what the last stage does with a rung whose score is none."""

import json
import re

from tests.evaluation.test_audit import NAMES

import pytest

SCORE = """
    def nll(self, tokens):
        return 0.5 * super().nll(tokens)
"""


def test_the_models_of_a_ladder_pass(lmladder):
    done = lmladder("audit", "outputs", "--json").succeeded()
    found = {each["model"]: each for each in json.loads(done.stdout)}
    assert {"uniform", "kneser_ney_3", "mlp", "transformer", "oracle"} <= found.keys()
    for each in found.values():
        assert tuple(check["check"] for check in each["checks"]) == NAMES
        status = {check["check"]: check["status"] for check in each["checks"]}
        assert {status.pop("context")} <= {"passed", "nothing to try"}
        assert {*status.values()} == {"passed"}, each
    done = lmladder("audit", "outputs/mlp").succeeded()
    assert re.search(r"\n  future +passed +\d+ changes of later tokens", done.stdout)


def test_a_claim_that_is_another_models_fails_and_wrong_paths_are_one_line(checkout):
    path = checkout / "outputs/evaluate/scores.json"
    record = json.loads(path.read_text())
    mlp, transformer = record["models"][-2:]
    mlp["losses"], transformer["losses"] = transformer["losses"], mlp["losses"]
    path.write_text(json.dumps(record))
    done = checkout.lmladder("audit", "outputs/mlp")
    assert "error: mlp fails text" in done.stderr
    assert (done.status, "Traceback" in done.stderr) == (1, False)
    assert re.search(r"\n  text +FAILED +the blocks have another sum", done.stdout)
    checkout.lmladder("audit", "conf").failed_in_one_line(2, "there is no checkpoint in conf")
    elsewhere = ("audit", "outputs/mlp", "--prepared", "conf")
    checkout.lmladder(*elsewhere).failed_in_one_line(2, "conf/corpus.json")


@pytest.mark.slow
def test_a_rung_that_fails_is_marked_and_compared_with_no_other(checkout):
    source = (checkout / "examples/rungs/witten_bell.py").read_text()
    (checkout / "sound.py").write_text(source)
    renamed = source.replace("WittenBell", "Tempered").replace("Witten-Bell", "Tempered")
    (checkout / "tempered.py").write_text(renamed + SCORE)
    rungs = "{sound: {kind: witten_bell, watch: sound.py, order: 3}, "
    rungs += "tempered: {kind: tempered, watch: tempered.py, order: 3}}"
    checkout.run("python", "stages/compose.py", "experiment=smoke", f"+rungs={rungs}").succeeded()
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
    notes = [line for line in done.stderr.splitlines() if "fails an audit: sums" in line]
    assert len(notes) == 2  # of the ladder, and of the rung alone
    modules = ("--module", "sound.py", "--module", "tempered.py")
    done = checkout.lmladder("audit", "outputs/rungs/tempered", *modules)
    assert (done.status, done.stderr) == (1, "error: tempered fails sums\n")
