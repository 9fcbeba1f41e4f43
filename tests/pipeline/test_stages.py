"""The pipeline from end to end, with tiny settings: what it writes, when it runs, how it fails."""

import csv
import hashlib
import json
import os
import re
import signal
import sys
import time

import pytest

RUNGS = {"mlp", "transformer"}
RESULTS = {
    "outputs/prepare": {"train.npy", "val.npy", "test.npy", "tokenizer.json", "corpus.json"},
    "outputs/bigram": {"checkpoint.safetensors", "metrics.json", "block_nats.csv", "samples.txt"},
    **{
        f"outputs/{rung}": {
            "checkpoint.safetensors",
            "best.safetensors",
            "metrics.json",
            "history.csv",
            "block_nats.csv",
            "samples.txt",
        }
        for rung in RUNGS
    },
    "outputs/evaluate": {
        "perplexity.csv",
        "perplexity.md",
        "metrics.json",
        "report.html",
        "position.csv",
        "calibration.csv",
        "loss_curves.svg",
        "perplexity_parameters.svg",
        "perplexity_tokens.svg",
        "position.svg",
        "calibration.svg",
        "block_nats.csv",
    },
}
COUNTED = ("uniform", "unigram", "bigram", "trigram", "kneser_ney_3")
LONG_TRAINING = (  # seconds, with many checkpoints
    "transformer.training.steps=400",
    "transformer.training.evaluate_every=20",
)
WRITE_AT_MOST = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def rows(checkout):
    with open(checkout / "outputs/evaluate/perplexity.csv", newline="") as file:
        return list(csv.DictReader(file))


def wait_for(path, process):
    """Return as soon as there is a file, or the process has ended without one."""
    deadline = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def half_written(checkout, whole):
    """Files under outputs/ that are not, byte for byte, those of an unhindered run."""
    return [path for path, data in checkout.outputs().items() if whole.get(path) != data]


def test_every_result_of_the_design_is_there_and_no_other_file(smoke):
    for folder, names in RESULTS.items():
        found = {path.name for path in (smoke / folder).iterdir()}
        assert found - {".gitignore"} == names | {"performance.json", "environment.json"}
    assert {path.name for path in (smoke / "outputs").iterdir()} == {
        folder.removeprefix("outputs/") for folder in RESULTS
    }


def test_only_results_show_as_changed_in_git(smoke):
    status = smoke.git("status", "--porcelain", "--untracked-files=all").splitlines()
    changed = {line[3:] for line in status}
    assert changed <= {"params.yaml", "dvc.lock"} | {
        f"{folder}/{name}" for folder, names in RESULTS.items() for name in (*names, ".gitignore")
    }
    assert "outputs/evaluate/perplexity.csv" in changed
    assert not any(name.endswith((".npy", ".safetensors")) for name in changed)


def test_the_table_has_a_row_for_each_model_and_split(smoke):
    table = rows(smoke)
    assert list(table[0])[:9] == [
        "model", "split", "tokens", "bytes", "nats_per_token", "perplexity", "bits_per_byte",
        "parameters", "steps",
    ]  # fmt: skip
    assert {row["split"] for row in table} == {"val", "test"}
    for split in ("val", "test"):
        models = [row["model"] for row in table if row["split"] == split]
        assert sorted(models) == sorted([*COUNTED, "mlp", "transformer", "oracle"])
    assert {row["steps"] for row in table if row["model"] in RUNGS} == {"8"}


def test_the_metrics_are_those_of_the_table(smoke):
    metrics = json.loads((smoke / "outputs/evaluate/metrics.json").read_text())
    for row in rows(smoke):
        found = metrics[row["split"]]["perplexity"][row["model"]]
        assert found == pytest.approx(float(row["perplexity"]), abs=1e-6)


@pytest.mark.parametrize("stage", ["bigram", "mlp", "transformer", "evaluate"])
def test_the_blocks_that_runs_are_compared_by_add_up_to_their_scores(smoke, stage):
    if stage == "evaluate":
        nats = {r["model"]: float(r["nats_per_token"]) for r in rows(smoke) if r["split"] == "val"}
        del nats["oracle"]
    else:
        nats = json.loads((smoke / f"outputs/{stage}/metrics.json").read_text())["val_nats"]
        nats = nats if stage == "bigram" else {stage: nats}
    with open(smoke / f"outputs/{stage}/block_nats.csv", newline="") as file:
        blocks = list(csv.DictReader(file))
    digest = json.loads((smoke / "outputs/prepare/corpus.json").read_text())["digest"]
    assert {row["data"] for row in blocks} == {digest[:16]}
    tokens = sum(int(row["tokens"]) for row in blocks)
    assert set(list(blocks[0])[3:]) == set(nats)
    for model, expected in nats.items():
        found = sum(float(row[model]) for row in blocks) / tokens
        assert found == pytest.approx(expected, abs=2e-6)


def test_no_model_beats_the_oracle(smoke):
    for split in ("val", "test"):
        nats = {
            row["model"]: float(row["nats_per_token"])
            for row in rows(smoke)
            if row["split"] == split
        }
        assert min(nats, key=nats.get) == "oracle"


def test_the_report_needs_no_other_file_and_no_network(smoke):
    page = (smoke / "outputs/evaluate/report.html").read_text()
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^\s"'>]+)""", page)
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert "@import" not in page


def test_a_second_repro_runs_nothing(checkout):
    done = checkout.dvc("repro").succeeded()
    assert done.stages_run == []
    assert "up to date" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
def test_from_scratch_all_results_have_the_same_bytes_whatever_the_threads(
    smoke, checkout, threads
):
    checkout.remove_outputs()
    checkout.compose(f"runtime.threads={threads}")
    done = checkout.dvc("repro", "--force").succeeded()
    assert set(done.stages_run) == {folder.removeprefix("outputs/") for folder in RESULTS}
    assert (checkout / "dvc.lock").read_bytes() == (smoke / "dvc.lock").read_bytes()
    assert checkout.outputs() == smoke.outputs()


@pytest.mark.slow
def test_another_transformer_reruns_the_transformer_and_the_evaluation_alone(smoke, checkout):
    checkout.compose("transformer.n_layer=2")
    assert checkout.dvc("repro").succeeded().stages_run == ["transformer", "evaluate"]
    before = {row["model"]: row for row in rows(smoke) if row["split"] == "val"}
    after = {row["model"]: row for row in rows(checkout) if row["split"] == "val"}
    assert {model for model in before if before[model] != after[model]} == {"transformer"}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["rnn", "gru"])
def test_a_recurrent_network_takes_the_place_of_the_mlp_under_its_own_name(checkout, network):
    checkout.compose(f"mlp={network}")
    assert checkout.dvc("repro").succeeded().stages_run == ["mlp", "evaluate"]
    models = {row["model"] for row in rows(checkout)}
    assert models == {*COUNTED, network, "transformer", "oracle"}
    assert f"{network.upper()}</" in (checkout / "outputs/evaluate/report.html").read_text()
    curves = (checkout / "outputs/evaluate/loss_curves.svg").read_text()
    assert network.upper() in curves
    assert "MLP" not in curves
    assert (checkout / "outputs/mlp/samples.txt").read_text().startswith(f"== {network} ==\n")


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("seed=1", ["bigram", "mlp", "transformer", "evaluate"]),
        ("runtime.threads=1", []),
    ],
)
def test_a_setting_concerns_the_stages_that_it_can_change(checkout, override, stages):
    checkout.compose(override)
    assert checkout.dvc("repro", "--dry").succeeded().stages_run == stages


@pytest.mark.slow
def test_an_experiment_ends_with_the_bytes_of_compose_and_repro(smoke, checkout):
    (checkout / "params.yaml").unlink()
    checkout.dvc("exp", "run", "--set-param", "experiment=smoke").succeeded()
    assert (checkout / "params.yaml").read_bytes() == (smoke / "params.yaml").read_bytes()
    assert checkout.outputs() == smoke.outputs()


def test_a_stage_run_by_hand_gives_the_bytes_of_the_pipeline_in_a_folder_of_its_own(
    smoke, checkout
):
    checkout.stage("transformer", "experiment=smoke").succeeded()
    (folder,) = (checkout / "outputs/runs/transformer").iterdir()
    for name in RESULTS["outputs/transformer"]:
        made = (folder / name).read_bytes()
        assert made == (smoke / "outputs/transformer" / name).read_bytes()


def test_a_sweep_names_its_folders_by_what_varies(checkout):
    checkout.stage(
        "transformer", "-m", "experiment=smoke", "transformer.n_layer=1,2", "seed=0,1"
    ).succeeded()
    sweep = checkout / "outputs/sweeps/transformer"
    found = [path.parent.relative_to(sweep) for path in sweep.rglob("checkpoint.safetensors")]
    assert sorted(map(str, found)) == [
        f"experiment=smoke,transformer.n_layer={layers}/seed={seed}"
        for layers in (1, 2)
        for seed in (0, 1)
    ]
    assert len({(sweep / job / "checkpoint.safetensors").read_bytes() for job in found}) == 4


def test_a_sweep_of_seeds_alone_works(checkout):
    conf = checkout / "conf/config.yaml"
    conf.write_text(conf.read_text().replace("experiment: null", "experiment: smoke"))
    checkout.stage("transformer", "-m", "seed=0,1").succeeded()
    sweep = checkout / "outputs/sweeps/transformer"
    found = [path.parent.relative_to(sweep) for path in sweep.rglob("checkpoint.safetensors")]
    assert sorted(map(str, found)) == ["seed=0", "seed=1"]


@pytest.mark.slow
def test_other_data_than_prepared_is_refused_and_the_remedy_works(checkout):
    wanted = ("experiment=smoke", "data.seed=1")
    line = checkout.stage("transformer", *wanted).failed_in_one_line(2, "data.seed=1")
    commands = re.findall(r"`([^`]+)`", line)
    assert commands
    for command in commands:
        settings = wanted if "stages/" in command else ()  # "with the settings of this run"
        checkout.run("sh", "-c", " ".join([command, *settings])).succeeded()
    checkout.stage("transformer", *wanted).succeeded()


def test_a_table_of_other_settings_than_were_trained_is_refused(checkout):
    wanted = ("experiment=smoke", "transformer.n_layer=3")
    line = checkout.stage("evaluate", *wanted).failed_in_one_line(2, "transformer", "settings")
    assert "`python stages/compose.py`" in line
    assert "`dvc repro transformer`" in line


def test_a_rung_before_prepare_is_refused_and_the_remedy_works(checkout):
    checkout.remove_outputs()
    line = checkout.stage("transformer").failed_in_one_line(2, "outputs/prepare")
    remedies = re.findall(r"`([^`]+)`", line)
    assert remedies
    for remedy in remedies:  # each by itself
        checkout.remove_outputs()
        checkout.run("sh", "-c", remedy).succeeded()
        assert {path.name for path in (checkout / "outputs/prepare").iterdir()} >= RESULTS[
            "outputs/prepare"
        ]


def test_evaluation_refuses_a_rung_that_was_trained_on_other_text(checkout):
    checkout.compose("data.seed=1")
    checkout.stage("prepare").succeeded()
    checkout.stage("evaluate").failed_in_one_line(2, "outputs/bigram", "dvc repro bigram")


def test_evaluation_names_the_stage_that_has_not_run(checkout):
    (checkout / "outputs/mlp/checkpoint.safetensors").unlink()
    checkout.stage("evaluate").failed_in_one_line(2, "outputs/mlp", "dvc repro mlp")


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("missing.txt", None, "missing.txt"),
        ("empty.txt", b"", "empty.txt is empty"),
        ("blank.txt", b" \n\n", "blank.txt"),
        ("latin1.txt", "caf\u00e9 ".encode("latin-1") * 100, "byte 0xe9 (not UTF-8)"),
        ("short.txt", b"abc", "is empty"),
        ("folder/", None, "directory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_text_that_cannot_be_read_is_refused_before_anything_is_written(
    checkout, name, content, named
):
    checkout.remove_outputs()
    if content is not None:
        (checkout / name).write_bytes(content)
    elif name.endswith("/"):
        (checkout / name).mkdir()
    checkout.compose("data=file", f"data.path={name}")
    checkout.stage("prepare").failed_in_one_line(2, named)
    assert checkout.outputs() == {}


@pytest.mark.slow
def test_any_bytes_at_all_go_from_end_to_end_with_the_byte_tokenizer(checkout):
    (checkout / "any.bin").write_bytes(bytes(range(256)) * 40)
    checkout.compose("data=file", "data.path=any.bin", "tokenizer=byte")
    for stage in ("prepare", "bigram", "mlp", "transformer", "evaluate"):
        checkout.stage(stage).succeeded()
    assert {row["bytes"] for row in rows(checkout)} == {"1024"}


@pytest.mark.slow
def test_the_bytes_and_the_oracle_of_a_text_are_the_same_under_every_tokenizer(checkout):
    found = []
    for tokenizer in ("char", "word", "bpe"):
        checkout.compose(f"tokenizer={tokenizer}")
        for stage in ("prepare", "bigram", "mlp", "transformer", "evaluate"):
            checkout.stage(stage).succeeded()
        table = [row for row in rows(checkout) if row["split"] == "test"]
        bits = {row["model"]: float(row["bits_per_byte"]) for row in table}
        assert min(bits, key=bits.__getitem__) == "oracle"
        found.append(({row["bytes"] for row in table}, bits["oracle"]))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("rung", sorted(RUNGS))
def test_a_text_shorter_than_a_context_is_refused_before_training(checkout, rung):
    (checkout / "short.txt").write_text("Once upon a time there was a very short text. " * 4)
    checkout.remove_outputs()
    checkout.compose("data=file", "data.path=short.txt")
    checkout.stage("prepare").succeeded()
    before = checkout.outputs()
    checkout.stage(rung).failed_in_one_line(2, "shorter than a row of 33")
    assert checkout.outputs() == before


@pytest.mark.parametrize("prompt", ["", "caf\u00e9"])
def test_a_prompt_that_cannot_be_continued_is_refused_before_training(checkout, prompt):
    checkout.compose(f"sample.prompt='{prompt}'")
    before = checkout.outputs()
    checkout.stage("mlp").failed_in_one_line(2)
    assert checkout.outputs() == before


def test_samples_follow_their_settings(checkout):
    checkout.compose("sample.samples=2", "sample.stop=[e]", "sample.top_p=0.9", "sample.prompt=On")
    checkout.stage("mlp").succeeded()
    texts = (checkout / "outputs/mlp/samples.txt").read_text().rstrip("\n").split("\n\n")
    assert len(texts) >= 2
    assert all(text.startswith("On") for text in (texts[0], texts[-1]))
    assert not any("e" in text for text in texts)
    checkout.compose("sample.beams=3", "sample.samples=3", "sample.prompt=On")
    checkout.stage("mlp").succeeded()
    assert (checkout / "outputs/mlp/samples.txt").read_text().count("On") >= 3


@pytest.mark.slow
def test_a_ladder_without_kneser_ney_works(checkout):
    checkout.compose("bigram.kneser_ney_orders=[]")
    checkout.stage("bigram").succeeded()
    checkout.stage("evaluate").succeeded()
    assert {row["model"] for row in rows(checkout)} == {
        "uniform", "unigram", "bigram", "trigram", "mlp", "transformer", "oracle",
    }  # fmt: skip


def test_a_loss_that_is_not_finite_ends_in_one_line(checkout):
    checkout.compose("transformer.optimizer=${mlp.optimizer}", "mlp.optimizer.learning_rate=1e30")
    told = ("transformer", "the first that is not finite is", "learning rate")
    checkout.stage("transformer").failed_in_one_line(1, *told)


@pytest.mark.slow
def test_a_run_whose_patience_ends_tells_the_steps_that_it_took(checkout):
    checkout.compose("mlp.training.patience=1", "mlp.training.min_improvement=100")
    checkout.stage("mlp").succeeded()
    assert json.loads((checkout / "outputs/mlp/metrics.json").read_text())["steps"] == 4
    checkout.stage("evaluate").succeeded()
    assert {row["steps"] for row in rows(checkout) if row["model"] == "mlp"} == {"4"}
    assert (checkout / "outputs/mlp/history.csv").read_text().splitlines()[-1].endswith(",1")


def test_gradient_norms_of_groups_are_in_the_history(checkout):
    checkout.compose("transformer.training.monitor_every=2", "transformer.training.accumulate=2")
    checkout.stage("transformer").succeeded()
    with open(checkout / "outputs/transformer/history.csv", newline="") as file:
        *_, last = csv.DictReader(file)
    norms = {name: float(cell) for name, cell in last.items() if name.startswith("gradient_norm.")}
    assert {name.split(".")[1] for name in norms} >= {"embedding", "attention", "feed_forward"}
    assert min(norms.values()) > 0
    checkout.stage("evaluate").succeeded()


@pytest.mark.slow
def test_repro_prepares_a_file_anew_once_it_has_changed(checkout):
    checkout.compose("data=file", "data.path=book.txt")
    for text in ("A first text. ", "Another text. "):
        (checkout / "book.txt").write_text(text * 200)
        assert checkout.dvc("repro", "prepare").succeeded().stages_run == ["prepare"]


def test_repro_prepares_a_downloaded_text(checkout, tmp_path):
    # From the cache of downloads, where another text of that name takes the place of the real one.
    names = "".join(f"name{number}\n" for number in range(2000)).encode()
    (tmp_path / "names.txt").write_bytes(names)
    checkout.compose("data=names", f"data.sha256={hashlib.sha256(names).hexdigest()}")
    checkout.dvc("repro", "prepare", environment={"LMLADDER_DATA": str(tmp_path)}).succeeded()
    corpus = json.loads((checkout / "outputs/prepare/corpus.json").read_text())
    assert corpus["name"] == "names"
    assert corpus["documents"] == 2000


def test_a_run_killed_half_way_goes_on_and_ends_with_the_same_bytes(checkout):
    checkout.compose(*LONG_TRAINING)
    checkout.stage("transformer").succeeded()
    uninterrupted = checkout.outputs()
    unfinished = checkout / "outputs/transformer/unfinished.safetensors"
    assert not unfinished.exists()

    with checkout.start(sys.executable, "-m", "dvc", "repro", "transformer") as dvc:
        wait_for(unfinished, dvc)
        os.killpg(dvc.pid, signal.SIGKILL)
        dvc.communicate()
    assert dvc.returncode == -signal.SIGKILL
    assert unfinished.exists()
    assert not (checkout / "outputs/transformer/checkpoint.safetensors").exists()

    done = checkout.dvc("repro", "transformer").succeeded()
    (step,) = re.findall(r"going on from step (\d+)", done.stdout)
    assert 0 < int(step) < 400
    assert checkout.outputs() == uninterrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_in_one_line_and_the_same_command_goes_on(checkout, number):
    checkout.compose(*LONG_TRAINING)
    unfinished = checkout / "outputs/transformer/unfinished.safetensors"
    command = (sys.executable, "stages/transformer.py", "-cn", "pipeline")
    with checkout.start(*command) as run:
        wait_for(unfinished, run)
        run.send_signal(number)
        _, stderr = run.communicate()
    assert run.returncode == 128 + number
    assert stderr.startswith("interrupted")
    assert stderr.count("\n") == 1
    assert "going on from step" in checkout.run(*command).succeeded().stdout


def test_a_second_run_in_the_same_folder_is_refused_and_does_the_first_no_harm(smoke, checkout):
    checkout.compose(*LONG_TRAINING)
    command = (sys.executable, "stages/transformer.py", "-cn", "pipeline")
    with checkout.start(*command) as first:
        wait_for(checkout / "outputs/transformer/unfinished.safetensors", first)
        first.send_signal(signal.SIGSTOP)
        told = f"outputs/transformer is in use by process {first.pid};"
        checkout.run(*command).failed_in_one_line(1, told)
        first.send_signal(signal.SIGCONT)
        first.communicate()
    assert first.returncode == 0
    found = {path.name for path in (checkout / "outputs/transformer").iterdir()}
    assert found == {path.name for path in (smoke / "outputs/transformer").iterdir()}


@pytest.mark.slow
def test_a_killed_run_does_not_go_on_with_another_text(checkout):
    checkout.compose(*LONG_TRAINING)
    command = (sys.executable, "stages/transformer.py", "-cn", "pipeline")
    with checkout.start(*command) as run:
        wait_for(checkout / "outputs/transformer/unfinished.safetensors", run)
        run.kill()
        run.communicate()
    checkout.compose(*LONG_TRAINING, "data.seed=1")
    checkout.stage("prepare").succeeded()
    done = checkout.stage("transformer").succeeded()
    assert "is of another configuration, data or code; starting anew" in done.stdout
    assert "going on" not in done.stdout


def test_what_a_killed_run_has_left_is_not_used_by_a_run_with_other_settings(checkout):
    folder = checkout / "outputs/transformer"
    (folder / "checkpoint.safetensors").rename(folder / "unfinished.safetensors")
    checkout.compose("seed=1")
    done = checkout.stage("transformer").succeeded()
    assert "starting anew" in done.stdout
    assert "going on" not in done.stdout


@pytest.mark.parametrize("stage", ["prepare", "transformer", "evaluate"])
def test_a_disk_that_takes_no_more_is_told_in_one_line_and_leaves_only_whole_files(
    smoke, checkout, stage
):
    whole = smoke.outputs()
    for name in RESULTS[f"outputs/{stage}"]:
        (checkout / f"outputs/{stage}" / name).unlink()
    limited = (sys.executable, "-c", WRITE_AT_MOST, 4096, f"stages/{stage}.py", "-cn", "pipeline")
    checkout.run(*limited).failed_in_one_line(1, "cannot write", f"outputs/{stage}")
    assert half_written(checkout, whole) == []
