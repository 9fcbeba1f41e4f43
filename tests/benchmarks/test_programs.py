"""Each benchmark runs with the smallest settings and reports what it promises."""

import subprocess
import sys
from pathlib import Path

from benchmarks import measure
from lmladder.system import runtime

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
    assert facts["steps"] == 2
    assert len(facts["losses"]) == 4
    assert facts["tokens_per_second"] == pytest.approx(16e3 / facts["min_ms"], rel=0.01)
    assert facts["gflops_per_second"] > 0


def test_modern() -> None:
    lines = run("modern.py", "--configs", "micro", "--seconds", 0).splitlines()
    assert lines[0] == "| config | step | ms | ratio | cpu ratio | steps |"
    assert lines[2].split(" | ")[3] == "1"


def test_monitor() -> None:
    options = ("--config", "micro", "--every", 2, "--seconds", 0)
    (facts,) = measure.in_fresh_process("monitor.py", *options)
    assert facts["rounds"] == 3
    assert 0 < facts["norms_ms"] < facts["monitored_step_ms"]
    share = 100 * facts["norms_ms"] / (2 * facts["step_ms"])
    assert facts["percent"] == pytest.approx(share, rel=0.01)


@pytest.mark.slow  # compiles kernels for this very processor
@pytest.mark.skipif(not runtime.has_avx2(), reason="nothing is pinned on this processor")
def test_pinning() -> None:
    (facts,) = measure.in_fresh_process("pinning.py", "--config", "micro", "--seconds", 0)
    assert facts["steps"] == 5


@pytest.mark.slow
def test_compare(tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    options = ("--rounds", 1, "--seconds", 0, "--json", lines)
    table = run("compare.py", "--configs", "micro", "--engines", "lmladder", *options)
    head, _, row = table.splitlines()[:3]
    assert head.startswith("| config | lmladder ms | ratio (target) | lmladder MiB |")
    assert row.startswith("| micro | ")
    assert len(lines.read_text().splitlines()) == 3  # the machine by 1 and 2 threads, and the step


def test_generate() -> None:
    options = ("--config", "micro", "--tokens", 20, "--seconds", 0)
    (facts,) = measure.in_fresh_process("generate.py", *options)
    assert facts["tokens_per_second"] > 0
    assert len(facts["text"]) == 16


def test_profile() -> None:
    options = ("--config", "micro", "--seconds", 0.01, "--json")
    (facts,) = measure.in_fresh_process("profile.py", *options)
    groups = facts["groups"]
    assert sum(group["ms"] for group in groups) == pytest.approx(facts["sum_ms"], rel=0.01)
    assert sum(group["%"] for group in groups) == pytest.approx(100, abs=1)
    named = {group["where"]: group for group in groups}
    assert named["attention"]["ms"] > 0


def test_prepare() -> None:
    results = measure.in_fresh_process("prepare.py", "--megabytes", 0.1, 0.2, "--json")
    *sizes, seconds, memory = results
    assert [each["megabytes"] for each in sizes] == pytest.approx([0.1, 0.2], rel=0.05)
    assert all(each["megabytes_per_second"] > 0 for each in sizes)
    assert (seconds["exponent of"], memory["exponent of"]) == ("seconds", "peak_mib")


def test_oracle() -> None:
    (facts,) = measure.in_fresh_process("oracle.py", "--characters", 60_000, "--json")
    assert facts["characters"] >= 60_000
    assert facts["characters_per_second"] > 0
    assert facts["worst_difference"] < 1e-9
    assert 1 <= facts["mean_derivations"] <= facts["max_derivations"]


def test_grammars() -> None:
    """The table of the docs is up to date."""
    run("grammars.py", "--check", measure.FOLDER.parent / "docs/oracle.md")


def test_growth_of_a_fit() -> None:
    options = ("--only", "tokens", "--points", 2000, 4000, "--json")
    one, two, time, _ = measure.in_fresh_process("growth.py", *options)
    assert one["distinct n-grams"] < two["distinct n-grams"]
    assert one["bytes a distinct n-gram"] > 1
    assert time["fitted"] is not None


def test_counts() -> None:
    options = ("--length", 2000, "--order", 3)
    lines = measure.in_fresh_process("counts.py", *options)
    assert [line["member"] for line in lines][-1] == "kneser_ney_3"
    assert all(line["fit_seconds"] >= 0 and line["nats_per_token"] > 0 for line in lines)


def test_counts_beside_nltk() -> None:
    options = ("--length", 2000, "--order", 3, "--nltk", 1000)
    try:
        *_, mine, peers = measure.in_fresh_process("counts.py", *options)
    except measure.UnavailableError as error:
        pytest.skip(str(error))
    assert mine["tokens"] == peers["tokens"] == 100
    # Equal except for their discounts.
    assert peers["nats_per_token"] == pytest.approx(mine["nats_per_token"], rel=0.1)
