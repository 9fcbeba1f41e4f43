"""Each benchmark runs with its smallest settings, and what it reports is right."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import measure

import pytest


def run(*arguments: object) -> str:
    """Return what a benchmark prints."""
    script, *options = map(str, arguments)
    command = [sys.executable, str(measure.FOLDER / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_train_step() -> None:
    (facts,) = measure.in_fresh_process("train_step.py", "--config", "micro", "--steps", 2)
    assert 0 < facts["min_ms"] <= facts["median_ms"]
    assert len(facts["losses"]) == 4
    assert facts["tokens_per_second"] == pytest.approx(16e3 / facts["min_ms"], rel=0.01)


def test_an_engine_that_is_not_there_is_one_line_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("raise ImportError('no JAX in this test')")
    program = measure.FOLDER / "train_step.py"
    done = subprocess.run(
        [sys.executable, program, "--config", "micro", "--engine", "jax"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: engine 'jax' is not available: no JAX in this test\n"


def test_profile() -> None:
    options = ("--config", "micro", "--seconds", 0.01, "--json")
    (facts,) = measure.in_fresh_process("profile.py", *options)
    groups: dict[str, Any] = {group["where"]: group for group in facts["groups"]}
    assert sum(each["ms"] for each in groups.values()) == pytest.approx(facts["sum_ms"], rel=0.01)
    assert groups["attention"]["ms"] > 0
    assert groups["matrix products"]["calls"] > groups["norms"]["calls"] > 0


@pytest.mark.slow
def test_modern() -> None:
    lines = run("modern.py", "--configs", "micro", "--seconds", 0).splitlines()
    assert [line.split(" | ")[3] for line in lines if "| gpt-2 |" in line] == ["1"]


@pytest.mark.slow
def test_compare(tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    options = ("--rounds", 1, "--seconds", 0, "--json", lines)
    table = run("compare.py", "--configs", "micro", "--engines", "lmladder", *options)
    assert "\n| micro | " in table
    assert len(lines.read_text().splitlines()) == 1


@pytest.mark.slow
def test_products() -> None:
    lines = run("products.py", "--rounds", 1, "--of", "qk").splitlines()
    shapes = [line.split(" | ")[1] for line in lines if "qk" in line]
    assert shapes == ["64 x 32 x 64", "64 x 32 x 256", "geometric mean"]


@pytest.mark.slow
def test_prepare() -> None:
    *sizes, seconds, memory = measure.in_fresh_process(
        "prepare.py", "--megabytes", 0.1, 0.2, "--json"
    )
    assert [each["megabytes"] for each in sizes] == pytest.approx([0.1, 0.2], rel=0.05)
    assert (seconds["exponent of"], memory["exponent of"]) == ("seconds", "peak_mib")


def test_oracle() -> None:
    (facts,) = measure.in_fresh_process("oracle.py", "--characters", 20_000, "--json")
    assert facts["characters"] >= 20_000
    assert facts["worst_difference"] < 1e-9
    assert 1 <= facts["mean_derivations"] <= facts["max_derivations"]


@pytest.mark.slow
def test_growth_of_a_fit() -> None:
    options = ("--only", "tokens", "--points", 2000, 4000, "--json")
    one, two, time, _ = measure.in_fresh_process("growth.py", *options)
    assert one["distinct n-grams"] < two["distinct n-grams"]
    assert time["fitted"] is not None


@pytest.mark.slow
def test_counts_beside_nltk() -> None:
    options = ("--length", 2000, "--order", 3, "--nltk", 1000)
    try:
        *_, mine, peers = measure.in_fresh_process("counts.py", *options)
    except measure.UnavailableError as error:
        pytest.skip(str(error))
    assert mine["tokens"] == peers["tokens"] == 100
    # Equal except for their discounts.
    assert peers["nats_per_token"] == pytest.approx(mine["nats_per_token"], rel=0.1)
