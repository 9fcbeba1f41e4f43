"""Further rungs: a module and a YAML file give a row, samples, curves, sweeps and comparisons."""

import re

import pytest

TWINS = ("+rungs.a=${transformer}", "+rungs.b=${transformer}")  # the same kind three times
SMOKE = ("experiment=smoke", "+rungs=bag")
CHECKPOINT = "outputs/rungs/bag/checkpoint.safetensors"


def add_rung(checkout):
    """Copy the two files of the example, after which the checkout's own programs know the rung."""
    example = checkout / "examples/rung"
    (checkout / "src/lmladder/models/bag.py").write_text((example / "bag.py").read_text())
    settings = (example / "bag.yaml").read_text()
    for key, tiny in (("  steps", 8), ("warmup_steps", 2), ("evaluate_every", 4)):
        settings = re.sub(f"{key}: .*", f"{key}: {tiny}", settings)
    (checkout / "conf/rungs").mkdir()
    (checkout / "conf/rungs/bag.yaml").write_text(settings)


def compose(checkout, *overrides):
    checkout.run("python", "stages/compose.py", "experiment=smoke", *overrides).succeeded()


@pytest.mark.slow
def test_a_rung_of_two_files_is_in_every_result_until_it_is_removed(checkout):
    add_rung(checkout)
    compose(checkout, "+rungs=bag", *TWINS)
    ran = checkout.dvc("repro").succeeded().stages_run
    trained = ["rung@a", "rung@b", "rung@bag"]
    assert sorted(ran) == sorted([*trained, "evaluate"])
    assert checkout.dvc("repro").succeeded().stages_run == []

    scores = {(row["model"], row["split"]): row for row in checkout.table()}
    twins = [scores[name, "val"]["perplexity"] for name in ("transformer", "a", "b")]
    assert len(set(twins)) == 1
    assert scores["bag", "test"]["steps"] == "8"
    for name in ("position.csv", "calibration.csv", "block_losses.csv"):
        assert any("bag" in str(row) for row in checkout.table(f"outputs/evaluate/{name}"))
    assert "== bag ==" in (checkout / "outputs/evaluate/samples.txt").read_text()
    for name in ("loss_curves.svg", "position.svg", "calibration.svg", "report.html"):
        assert "Bag" in (checkout / "outputs/evaluate" / name).read_text()

    checkout.lmladder("sample", "--checkpoint", CHECKPOINT, "--tokens", 5).succeeded()
    checkout.lmladder("verify", "outputs/rungs/bag").succeeded()
    checkout.lmladder("report", "-o", "page.html").succeeded()
    assert "bag" in checkout.lmladder("compare", "outputs").succeeded().stdout

    (checkout / CHECKPOINT).unlink()
    done = checkout.by_hand("evaluate", "-cn", "pipeline")
    done.failed_in_one_line(2, CHECKPOINT, "run `dvc repro rung@bag`")
    compose(checkout)
    assert checkout.dvc("repro").succeeded().stages_run == ["evaluate"]
    assert {row["model"] for row in checkout.table()} >= {"mlp", "transformer"}
    assert not {row["model"] for row in checkout.table()} & {"bag", "a", "b"}


@pytest.mark.slow
def test_a_rung_of_two_files_is_swept_compared_and_part_of_a_ladder(checkout):
    add_rung(checkout)
    checkout.by_hand("rung", "-m", *SMOKE, "rung=bag", "seed=0,1").succeeded()
    assert len(list((checkout / "outputs/sweeps/rung").rglob("seed=*/best.safetensors"))) == 2
    compared = checkout.lmladder("compare", "outputs/sweeps/rung").succeeded().stdout
    assert "bag" in compared
    checkout.by_hand("ladder", *SMOKE, "hydra.run.dir=outputs/runs/ladder/new").succeeded()
    rows = checkout.table("outputs/runs/ladder/new/evaluate/perplexity.csv")
    assert len([row for row in rows if row["model"] == "bag"]) == 2


@pytest.mark.parametrize(
    ("rung", "named"), [("null", "rung is missing"), ("b", "unknown rung 'b'")]
)
def test_a_rung_that_is_not_there_is_named(checkout, rung, named):
    checkout.compose("+rungs.a=${transformer}", f"rung={rung}")
    checkout.stage("rung").failed_in_one_line(2, named)
    checkout.stage("evaluate").failed_in_one_line(2, "outputs/rungs/a", "run `dvc repro rung@a`")
