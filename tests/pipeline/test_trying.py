"""`lmladder try`: questions are asked of real runs, and answers are in the ledger."""

import os
import re

from lmladder.experiments.trials import BETTER, read_ledger
from lmladder.pipeline.trying import Side, matched
from lmladder.system.files import work_folder
from tests.pipeline.conftest import PROJECT, PYTHON, wait_for

import pytest

TRY = (PYTHON, "-m", "lmladder", "try")
COMMON = (
    "--at-once=3",
    "--common=experiment=smoke",
    "--common=mlp.training.steps=40",
    "--common=mlp.training.evaluate_every=40",
    "--common=mlp.optimizer.learning_rate=1e-5",
)
LEARNS = "mlp.optimizer.learning_rate=0.01"


@pytest.mark.slow
def test_an_improvement_is_found_confirmed_and_drawn(checkout):
    done = checkout.run(*TRY, LEARNS, *COMMON)
    answer = done.succeeded().stdout.splitlines()
    assert answer[0].startswith(f"{LEARNS} is better than the base: -")
    assert answer[1].endswith("with equal tokens: 3, looks: 1, questions about this text: 1")
    assert re.fullmatch(
        r"on fresh text, where the base is .+ above the truth: -.+ keep it", answer[2]
    )
    (trial,) = read_ledger(checkout / "trials.csv")
    assert trial.answer == BETTER
    assert trial.confirmation.high < 0 < trial.excess
    listed = checkout.lmladder("try", "--ledger", "-o", "trials.svg").succeeded()
    assert re.search(r"mlp +\S+ +better +3 -.+ -.+ yes$", listed.stdout, re.MULTILINE)
    assert "fresh text" in (checkout / "trials.svg").read_text()


@pytest.mark.slow
def test_the_base_may_be_a_revision_and_an_interval_is_corrected_where_no_fresh_text_is_known(
    checkout,
):
    text = checkout.path / "data/own.txt"
    text.write_text("The fox ran to the old mill. " * 4500)
    settings = ("data=file", "data.path=data/own.txt", "tokenizer=char")
    checkout.compose(*settings)
    checkout.stage("prepare")
    checkout.commit()
    common = (*COMMON, *(f"--common={each}" for each in settings))
    done = checkout.run(*TRY, "--against=HEAD", *common, LEARNS)
    assert "pairs of runs: 3, difference -" in done.succeeded().stderr
    (trial,) = read_ledger(checkout / "trials.csv")
    assert done.stdout.splitlines()[-1].startswith("corrected for the text and 1 question: -")
    assert (trial.answer, trial.excess) == (BETTER, None)
    assert trial.confirmation.low < trial.low < trial.high < trial.confirmation.high
    assert len(trial.against) == 40
    larger = (*TRY, "mlp.training.batch_size=16", *common, "--budget=1Mtokens")
    done = checkout.run(*larger)
    assert "equal tokens: 40 steps of the base, 10 of the change" in done.succeeded().stderr
    again = checkout.run(*larger)
    assert again.succeeded().stdout == done.stdout
    assert again.stderr.count("already finished") == 6
    assert read_ledger(checkout / "trials.csv")[1].answer != BETTER


def test_equal_time_scales_the_steps_by_measured_times_which_are_measured_once(
    tmp_path, monkeypatch
):
    measured = []

    class Measured(Side):
        def settings(self):
            return {
                "training.steps": 1000,
                "training.batch_size": 8,
                "training.sequence_length": 128,
            }

        def folder(self, seed=None):
            return tmp_path / "sweep"

        def seconds(self, steps):
            measured.append(steps)
            return 2.0 if steps == 200 else 4.0 + len(measured)

    monkeypatch.chdir(PROJECT)
    common = ("mlp.schedule.warmup_steps=10",)
    base = Measured("mlp", common)
    larger = Measured("mlp", (*common, "mlp.training.batch_size=16"))
    assert matched(base, larger, "tokens").overrides[-1] == "mlp.training.steps=500"
    for _ in range(2):
        # 100 steps of the change take at least 6 s, 200 of the base 2 s
        assert matched(base, larger, "time").overrides[-1] == "mlp.training.steps=167"
    assert measured == [200, 100, 200, 100]
    same = Measured("mlp", ("mlp.training.steps=1000",))
    assert matched(base, same, "tokens") == same


def test_what_cannot_be_asked_is_rejected_in_one_line_before_anything_is_trained(checkout):
    before = {*checkout.path.rglob("*")}
    for given, words in (
        ([], "name a change, such as"),
        (["seed=1"], "seed=1 is not a setting of a trained rung; for both: --common"),
        (["bigram.add_k=0.1"], "bigram does not depend on the seed"),
        (["mlp.activation=relu", "--common=mlp.training.patience=3"], "patience ends runs before"),
        (["mlp.activation=relu,tanh"], "has several values"),
        (["mlp.training.steps=3"], "the steps follow from --equal"),
        (["mlp.activatoin=relu"], "did you mean 'mlp.activation'?"),
        (["transformer.n_layer"], "Error parsing override 'transformer.n_layer'"),
        (["mlp.activation=relu", "--common=mlp.seed=3"], "mlp does not depend on the seed"),
        (["mlp.activation=relu", "--budget=3x"], "--budget '3x' is not a number with one of s, m"),
        (["--against=HEAD", "--rung=bigram"], "bigram does not depend on the seed"),
        (["--against=nothing"], "no git revision or experiment 'nothing'"),
        (["--ledger"], "there is no trials.csv"),
        (["mlp.activation=relu", "-o", "x.svg"], "--ledger and -o ask no question"),
    ):
        checkout.lmladder("try", *given).failed_in_one_line(2, words)
    new = [path for path in checkout.path.rglob("*") if path not in before and path.is_file()]
    assert not [path for path in new if not {".git", ".work", "build"} & {*path.parts}]


def test_of_a_failed_run_the_reason_is_above_the_last_line(checkout):
    done = checkout.run(*TRY, "mlp.activation=relu")  # of a text that is not prepared
    assert (done.status, done.stdout) == (2, "")
    assert "outputs/prepare was prepared with" in done.stderr
    assert done.stderr.endswith("error: mlp: failed for the reason printed above\n")
    assert (checkout / "outputs/sweeps/mlp/seed=0/failed.json").exists()


def test_a_request_to_stop_ends_the_run_too_which_continues_later(checkout):
    long = ("mlp.training.steps=200000", "mlp.training.evaluate_every=50")
    common = ("experiment=smoke", *long)
    job = checkout / f"outputs/sweeps/mlp/{','.join(sorted(common))}/seed=0"
    unfinished = work_folder(job) / "unfinished.safetensors"
    with checkout.start(*TRY, LEARNS, *(f"--common={each}" for each in common)) as run:
        wait_for(unfinished.exists, run)
        stage = int((work_folder(job) / "lock").read_text())
        run.terminate()
        _, stderr = run.communicate(timeout=60)
    assert stderr.endswith("interrupted\n")
    assert unfinished.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(stage, 0)
