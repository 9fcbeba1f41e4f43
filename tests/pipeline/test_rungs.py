"""Further rungs: a module and a YAML file give a row, samples, curves, sweeps and comparisons."""

import re

import pytest

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


@pytest.mark.slow
def test_a_rung_of_two_files_is_in_every_result_until_it_is_removed(checkout):
    add_rung(checkout)
    settings = ("experiment=smoke", "+rungs=bag", "+rungs.twin=${transformer}")
    checkout.run("python", "stages/compose.py", *settings).succeeded()
    ran = checkout.dvc("repro").succeeded().stages_run
    assert sorted(ran) == ["evaluate", "rung@bag", "rung@twin"]

    scores = {(row["model"], row["split"]): row for row in checkout.table()}
    assert scores["twin", "val"]["perplexity"] == scores["transformer", "val"]["perplexity"]
    assert scores["bag", "test"]["steps"] == "8"
    for name in ("position.csv", "calibration.csv", "block_losses.csv"):
        assert any("bag" in str(row) for row in checkout.table(f"outputs/evaluate/{name}"))
    assert "== bag ==" in (checkout / "outputs/evaluate/samples.txt").read_text()
    for name in ("loss_curves.svg", "position.svg", "calibration.svg", "report.html"):
        assert "Bag" in (checkout / "outputs/evaluate" / name).read_text()

    checkout.lmladder("sample", "--checkpoint", CHECKPOINT, "--tokens", 5).succeeded()
    checkout.lmladder("verify", "outputs/rungs/bag").succeeded()
    checkout.lmladder("report", "-o", "page.html").succeeded()

    checkout.compose()
    checkout.stage("evaluate").succeeded()
    assert not {row["model"] for row in checkout.table()} & {"bag", "twin"}


@pytest.mark.slow
def test_a_rung_of_two_files_is_swept_as_a_part_of_a_ladder(checkout):
    add_rung(checkout)
    checkout.by_hand("ladder", "-m", "experiment=smoke", "+rungs=bag").succeeded()
    (table,) = (checkout / "outputs/sweeps/ladder").rglob("perplexity.csv")
    assert len([row for row in checkout.table(table) if row["model"] == "bag"]) == 2
    assert "bag" in checkout.lmladder("compare", "outputs/sweeps/ladder").succeeded().stdout


@pytest.mark.parametrize(
    ("rung", "named"), [("null", "rung is missing"), ("b", "unknown rung 'b'")]
)
def test_a_rung_that_is_not_there_is_named(checkout, rung, named):
    checkout.compose("+rungs.a=${transformer}", f"rung={rung}")
    checkout.stage("rung").failed_in_one_line(2, named)
    checkout.stage("evaluate").failed_in_one_line(2, "outputs/rungs/a", "run `dvc repro rung@a`")
