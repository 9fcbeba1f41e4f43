"""The speedrun trains both sides, scores them by one rule and compares their times."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import measure, speedrun
from lmladder.system.errors import InputError

import pytest


def run(name: str, loss: float, seconds: float) -> measure.Facts:
    """Return the facts of a run that `targets` reads."""
    return {"run": name, "loss": loss, "train s": seconds}


def test_the_target_is_the_mean_loss_of_the_faster_pytorch_and_every_seed_must_reach_it() -> None:
    peers = [run("torch", 1.0, 9.0), run("compile", 1.8, 8.0), run("compile", 1.6, 8.0)]
    ours = [run("to pytorch", 1.7, 1.0), run("to pytorch", 1.69, 3.0)]
    (row,) = speedrun.targets([*peers, *ours])
    assert (row["target"], row["nats/token"]) == ("pytorch (compile)", "1.7000")
    assert (row["reached"], row["mean s"], row["of PyTorch's"]) == ("yes", 2.0, 0.25)
    (row,) = speedrun.targets([*peers, *ours, run("to pytorch", 1.71, 2.0)])
    assert row["reached"] == "no"


def test_another_target_is_its_name_and_needs_no_pytorch() -> None:
    (row,) = speedrun.targets([run("to 1.60", 1.6, 5.0)])
    assert (row["nats/token"], row["reached"], row["of PyTorch's"]) == ("1.6000", "yes", None)


@pytest.mark.parametrize("target", ["pytorch", "1.60"])
def test_a_recipe_is_a_transformer_with_enough_context(target: str) -> None:
    config = speedrun.configuration(speedrun.RECIPES[target])
    assert config.transformer.context_length >= speedrun.MIN_CONTEXT
    assert config.text == speedrun.configuration([speedrun.PEER_RECIPE]).text


def test_a_recipe_with_too_little_context_or_an_unknown_setting_is_rejected() -> None:
    job = {"recipe": ["experiment=speedrun", "transformer.context_length=32"], "seed": 0}
    with pytest.raises(measure.UnavailableError, match="context_length=32 must be at least 64"):
        speedrun.train_ours({**job, "steps": 1})
    with pytest.raises(InputError, match="contxt"):
        speedrun.configuration(["transformer.contxt=32"])


def trained(folder: Path, *options: str) -> list[measure.Facts]:
    """Return the facts of all runs of three steps on a short text."""
    command = [sys.executable, str(measure.FOLDER / "speedrun.py"), *options]
    command += ["--steps", "3", "--threads", "1", "--seeds", "5", "--output", f"{folder}/a.json"]
    command += ["--set", "data=tales", "data.characters=20000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "a.md").read_text() == done.stdout.partition("\n")[2]
    runs: list[measure.Facts] = json.loads((folder / "a.json").read_text())["runs"]
    for each in runs:
        assert (each["seed"], each["steps"]) == (5, 3)
        assert 0 < each["train s"] < each["train s"] + each["warm-up s"]
        assert 1 < each["loss"] < 5
    return runs


@pytest.mark.slow
def test_a_recipe_is_trained_and_scored(tmp_path: Path) -> None:
    (ours,) = trained(tmp_path, "--peers", "--to", "pytorch")
    assert ours["run"] == "to pytorch"


@pytest.mark.slow
def test_both_sides_are_trained_and_scored(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="nanoGPT's recipe is trained in PyTorch")
    theirs, ours = trained(tmp_path, "--peers", "torch", "--to", "pytorch")
    assert [theirs["run"], ours["run"]] == ["torch", "to pytorch"]
