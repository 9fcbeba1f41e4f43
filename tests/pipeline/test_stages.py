"""The pipeline from end to end, with tiny settings: what it writes, and how it fails."""

import json
import os
import shutil
import signal
from unittest.mock import Mock

from lmladder.models import neural
from tests.pipeline.conftest import PYTHON, wait_for

import pytest
import yaml

FITTED = {"checkpoint.safetensors", "metrics.json", "scores.json"}
TRAINED = {*FITTED, "best.safetensors", "history.csv"}
FIGURES = ("loss_curves", "perplexity_parameters", "position", "calibration")
RESULTS = {
    "prepare": {"train.npy", "val.npy", "test.npy", "tokenizer.json", "corpus.json"},
    "bigram": FITTED,
    "mlp": TRAINED,
    "transformer": TRAINED,
    "evaluate": {
        *("perplexity.csv", "perplexity.md", "metrics.json", "report.html", "samples.txt"),
        *("position.csv", "calibration.csv", "excess.csv", "scores.json"),
        *(f"{name}.svg" for name in FIGURES),
    },
}
COUNTED = ("uniform", "unigram", "bigram", "trigram", "kneser_ney_3")
TRANSFORMER = (PYTHON, "stages/transformer.py", "-cn", "pipeline")
CHECKPOINT = "outputs/transformer/checkpoint.safetensors"


def read_text_file(checkout, name, documents="whole"):
    """Make a file the text in params.yaml, without the checks of stages/compose.py."""
    settings = yaml.safe_load((checkout / "params.yaml").read_text())
    data = {"corpus": "file", "path": name, "documents": documents, "prompt": None}
    settings["data"] = data | {key: settings["data"][key] for key in ("split", "seed")}
    settings["data"]["characters"] = None
    settings["sample"] |= {"prompt": None, "temperature": 0.0, "samples": 1}
    (checkout / "params.yaml").write_text(yaml.safe_dump(settings))


# --- Results --------------------------------------------------------------------------------------


def test_every_result_of_the_design_is_there_and_no_other_file(smoke):
    found = {path.removeprefix("outputs/") for path in smoke.outputs()}
    expected = {f"{stage}/{name}" for stage, names in RESULTS.items() for name in names}
    assert {path for path in found if not path.startswith("runs/")} == expected


def test_the_table_has_a_row_for_each_model_and_split_which_the_metrics_repeat(smoke):
    table = smoke.table()
    columns = "model split tokens bytes nats_per_token perplexity bits_per_byte parameters steps"
    assert set(columns.split()) <= set(table[0])
    metrics = json.loads((smoke / "outputs/evaluate/metrics.json").read_text())
    for split in ("val", "test"):
        rows = {row["model"]: row for row in table if row["split"] == split}
        assert set(rows) == {*COUNTED, "mlp", "transformer", "oracle"}
        assert {rows[model]["steps"] for model in ("mlp", "transformer")} == {"8"}
        assert min(rows, key=lambda model: float(rows[model]["nats_per_token"])) == "oracle"
        for model, row in rows.items():
            expected = pytest.approx(float(row["perplexity"]), abs=1e-6)
            assert metrics[split]["perplexity"][model] == expected


def test_the_oracle_has_the_known_loss_and_the_excess_is_that_over_it(smoke):
    facts = json.loads((smoke / "outputs/prepare/corpus.json").read_text())["splits"]
    for row in smoke.table():
        if row["model"] == "oracle":
            known = facts[row["split"]]
            expected = known["oracle"]["nats"] / known["tokens"]
            assert float(row["nats_per_token"]) == pytest.approx(expected, abs=1e-6)
    samples = (smoke / "outputs/evaluate/samples.txt").read_text()
    assert samples.partition("== oracle ==\n")[2].startswith("Once upon a time")
    rows = {row["model"]: row for row in smoke.table() if row["split"] == "test"}
    truth, model = rows["oracle"], rows["trigram"]
    gap = float(model["nats_per_token"]) - float(truth["nats_per_token"])
    assert float(model["excess_nats_per_token"]) == pytest.approx(gap, abs=0.08)
    assert truth["excess_nats_per_token"] == ""


def test_a_file_of_documents_has_no_oracle_and_its_samples_begin_with_a_document(checkout):
    lines = "".join(f"Once {number} came and went.\r\n" for number in range(400))
    (checkout / "book.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    read_text_file(checkout, "book.txt", documents="lines")
    done = checkout.stage("prepare").succeeded()
    assert done.stderr == "note: book.txt: removed a byte order mark and carriage returns\n"
    vocabulary = json.loads((checkout / "outputs/prepare/tokenizer.json").read_text())["characters"]
    assert not {"\ufeff", "\r"} & {*vocabulary}
    for stage in [*RESULTS][1:]:
        checkout.stage(stage).succeeded()
    assert "oracle" not in {row["model"] for row in checkout.table()}
    assert checkout.table("outputs/evaluate/excess.csv") == []
    samples = (checkout / "outputs/evaluate/samples.txt").read_text()
    assert samples.partition("== trigram ==\n")[2].lstrip().startswith("Once")


@pytest.mark.slow
def test_from_scratch_all_results_have_the_same_bytes_whatever_the_threads(smoke, checkout):
    shutil.rmtree(checkout / "outputs")
    checkout.compose("runtime.threads=3")
    for stage in RESULTS:
        checkout.stage(stage).succeeded()
    assert checkout.outputs() == smoke.outputs()


def test_a_stage_by_hand_has_the_bytes_of_the_pipeline_and_ends_when_nobody_reads(smoke, checkout):
    checkout.by_hand("transformer", "experiment=smoke").succeeded()
    (folder,) = (checkout / "outputs/runs/transformer").glob("2*")
    for name in RESULTS["transformer"] - {"scores.json"}:  # which has the overrides
        assert (folder / name).read_bytes() == (smoke / "outputs/transformer" / name).read_bytes()
    shutil.rmtree(checkout / "outputs/runs")
    (checkout / CHECKPOINT).unlink()
    command = f"set -o pipefail; {' '.join(map(str, TRANSFORMER))} | true"
    done = checkout.run("bash", "-c", command)
    done.failed_in_one_line(1, "transformer: nobody reads its output any more")
    checkout.stage("transformer").succeeded()
    assert checkout.outputs() == smoke.outputs()


def test_a_rung_with_monitoring_and_patience_stops_early(checkout):
    training = ("patience=1", "min_improvement=100", "monitor_every=2")
    checkout.compose(*(f"mlp.training.{each}" for each in training)).succeeded()
    checkout.stage("mlp").succeeded()
    last = checkout.table("outputs/mlp/history.csv")[-1]
    assert last["step"] == "4"
    norms = [float(cell) for name, cell in last.items() if name.startswith("gradient_norm.")]
    assert min(norms) > 0


# --- Failures -------------------------------------------------------------------------------------


def test_a_run_that_does_not_fit_what_is_there_is_rejected_with_the_remedy(checkout):
    named = ("other settings", "`python stages/compose.py`", "`dvc repro transformer`")
    before = checkout.outputs()
    checkout.compose("sample.prompt='caf\u00e9'")
    checkout.stage("evaluate").failed_in_one_line(2, "sample.prompt", "U+00E9")
    checkout.compose("transformer.n_layer=3")
    checkout.stage("evaluate").failed_in_one_line(2, *named)
    assert checkout.outputs() == before
    (checkout / "outputs/mlp/checkpoint.safetensors").unlink()
    checkout.stage("evaluate").failed_in_one_line(2, "outputs/mlp", "`dvc repro mlp`")
    checkout.compose("data.seed=1")
    checkout.stage("transformer").failed_in_one_line(2, "data.seed=1", "`dvc repro prepare`")
    checkout.stage("prepare").succeeded()
    checkout.stage("evaluate").failed_in_one_line(2, "outputs/bigram", "`dvc repro bigram`")
    shutil.rmtree(checkout / "outputs")
    checkout.stage("transformer").failed_in_one_line(2, "outputs/prepare", "`dvc repro prepare`")
    read_text_file(checkout, "missing.txt")
    checkout.stage("prepare").failed_in_one_line(2, "missing.txt")
    assert checkout.outputs() == {}


def test_what_would_stop_a_later_stage_is_found_by_the_first_one(checkout):
    checkout.compose("mlp.training.sequence_length=8")
    (checkout / "short.txt").write_text("Once upon a time there was a very short text. " * 4)
    read_text_file(checkout, "short.txt")
    named = ("the validation text has", "the 33 of a sequence", "transformer.training.sequence_len")
    checkout.stage("prepare").failed_in_one_line(2, *named)
    before = checkout.outputs()
    checkout.stage("bigram").failed_in_one_line(2, *named)
    assert checkout.outputs() == before


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("9 GiB"), "transformer: out of memory: 9 GiB; make batches"),
        (ImportError("libx.so: cannot open"), "transformer: libx.so: cannot open"),
        (OSError(28, "No space left on device"), "cannot write outputs/transformer: No space left"),
    ],
    ids=str,
)
def test_what_the_system_refuses_is_one_line(checkout, monkeypatch, error, reason):
    monkeypatch.setattr(neural, "train", Mock(side_effect=error))
    checkout.compose("transformer.n_layer=3")
    before = checkout.outputs()
    line = checkout.stage("transformer").failed_in_one_line(1)
    assert line.startswith(f"error: {reason}")
    assert checkout.outputs() == before


def test_a_loss_that_is_not_finite_ends_in_one_line(checkout):
    checkout.compose("transformer.optimizer=${mlp.optimizer}", "mlp.optimizer.learning_rate=1e30")
    named = ("transformer", "the first that is not finite is", "learning rate")
    checkout.stage("transformer").failed_in_one_line(1, *named)


def test_an_interrupted_run_ends_in_one_line_and_the_same_command_continues_it(checkout):
    before = checkout.outputs()
    checkout.compose("transformer.training.steps=1200", "transformer.training.evaluate_every=20")
    with checkout.start(*TRANSFORMER) as run:
        wait_for((checkout / "outputs/.work/transformer/unfinished.safetensors").exists, run)
        run.send_signal(signal.SIGINT)
        _, stderr = run.communicate()
    assert run.returncode == 128 + signal.SIGINT
    line = "interrupted; the run in outputs/transformer continues from its last checkpoint\n"
    assert stderr == line
    assert checkout.outputs() == before
    assert "resuming from step" in checkout.stage("transformer").succeeded().stdout


def test_a_request_to_stop_lmladder_run_ends_the_stage_of_dvc_too(checkout):
    long = ("transformer.training.steps=12000", "transformer.training.evaluate_every=20")
    work = checkout / "outputs/.work/transformer"
    command, shell = ("lmladder", "run", "experiment=smoke", *long), {"SHELL": "/bin/sh"}
    with checkout.start(*command, environment=shell) as run:  # dash remains the parent of a stage
        wait_for((work / "unfinished.safetensors").exists, run)
        stage = int((work / "lock").read_text())
        run.terminate()
        _, stderr = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM
    assert "interrupted; the run in outputs/transformer continues" in stderr
    with pytest.raises(ProcessLookupError):
        os.kill(stage, 0)


def test_a_run_under_other_kernels_starts_again_in_one_line_that_says_why(smoke, checkout):
    checkout.compose("runtime.kernels=numpy")
    done = checkout.stage("transformer").succeeded()
    line = f"{CHECKPOINT} is of kernels numba, not numpy; starting again"
    assert done.stdout.splitlines()[0] == line
    assert (checkout / CHECKPOINT).read_bytes() != (smoke / CHECKPOINT).read_bytes()
