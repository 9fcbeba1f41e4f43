"""Sweeps: what parallel jobs leave, what is done again, and what is said of a job that failed."""

import importlib.util
import json
import os
import re
import shutil
import signal
import sys
import time

import pytest
import yaml

SMOKE = "experiment=smoke"
LONG = ("transformer.training.steps=300", "transformer.training.evaluate_every=20")
PRESETS = {  # what must be installed for it, and what tells how where it is not
    "hydra/launcher=local": ("hydra_plugins.hydra_joblib_launcher", "pip install -e '.[sweep]'"),
    "hydra/launcher=slurm": ("hydra_plugins.hydra_submitit_launcher", "pip install -e '.[slurm]'"),
    "hydra/launcher=ray_local": ("hydra_plugins.hydra_ray_launcher", "pip install -e '.[ray]'"),
    "hydra/sweeper=tpe": ("hydra_plugins.hydra_optuna_sweeper", "pip install -e '.[optuna]'"),
}


def installed(preset):
    try:
        return importlib.util.find_spec(PRESETS[preset][0]) is not None
    except ModuleNotFoundError:  # no plugin at all
        return False


def needs(preset):
    plugin, how = PRESETS[preset]
    return pytest.mark.skipif(not installed(preset), reason=f"no {plugin}: {how}")


def results(folder):
    """The bytes of all results of a sweep or a ladder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".csv", ".npy", ".txt", ".html", ".md", ".svg")
        or path.name in ("metrics.json", "tokenizer.json", "corpus.json")
    }


def finished_before(done):
    mark = "finished before: "
    lines = done.stdout.splitlines()
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_composes_or_names_what_to_install(smoke, preset):
    group, _, name = preset.partition("=")
    done = smoke.stage("transformer", preset, "--cfg", "hydra", "-p", group.replace("/", "."))
    if not installed(preset):
        done.failed_in_one_line(2, "is not installed", PRESETS[preset][1])
        return
    assert PRESETS[preset][0] in yaml.safe_load(done.succeeded().stdout)["_target_"], name


@pytest.mark.parametrize("preset", PRESETS)
def test_there_is_an_extra_for_each_preset_and_none_of_them_is_for_tests(project, preset):
    (extra,) = re.findall(r"\[(\w+)\]", PRESETS[preset][1])
    (plugin,) = re.findall(r"hydra_plugins\.(\w+)", PRESETS[preset][0])
    text = (project / "pyproject.toml").read_text()
    assert re.search(rf'^{extra} = \["{plugin.replace("_", "-")}', text, re.MULTILINE)


@pytest.mark.slow
def test_every_job_that_fails_is_named_and_the_other_jobs_go_on(checkout):
    sweep = checkout / "outputs/sweeps/transformer"
    command = ("-m", SMOKE, "transformer.n_head=3,2,5", "seed=0")
    done = checkout.stage("transformer", *command)
    assert done.status == 2
    where = f"outputs/sweeps/transformer/{SMOKE},transformer.n_head="
    wrong = "does not divide transformer.d_model=16"
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert told == [
        f"error: {where}3/seed=0: transformer.n_head=3 {wrong}",
        f"error: {where}5/seed=0: transformer.n_head=5 {wrong}",
        "error: 2 jobs of the sweep failed; the same command does what is not finished",
    ]
    assert "Traceback" not in done.stderr
    (job,) = [path.parents[1].name for path in sweep.rglob("checkpoint.safetensors")]
    assert job == f"{SMOKE},transformer.n_head=2"
    again = checkout.stage("transformer", *command)
    assert [line for line in again.stderr.splitlines() if line.startswith("error: ")] == told
    assert finished_before(again) == [f"{where}2/seed=0"]
    right = checkout.stage("transformer", "-m", SMOKE, "transformer.n_head=2", "seed=0")
    assert right.succeeded().stderr == ""  # what failed in another sweep of this folder is not told


@pytest.mark.slow
def test_a_finished_job_is_entered_again_if_its_settings_or_its_text_have_changed(checkout):
    sweep = ("-m", "seed=0,1", SMOKE)
    checkout.stage("transformer", *sweep).succeeded()
    before = results(checkout / "outputs/sweeps")
    assert len(finished_before(checkout.stage("transformer", *sweep).succeeded())) == 2
    preset = checkout / "conf/experiment/smoke.yaml"
    preset.write_text(preset.read_text().replace("steps: 8", "steps: 12"))
    assert finished_before(checkout.stage("transformer", *sweep).succeeded()) == []
    assert results(checkout / "outputs/sweeps").keys() == before.keys()
    (checkout / "outputs/prepare/corpus.json").write_text("{}")
    done = checkout.stage("transformer", *sweep)
    assert done.status == 2
    assert done.stderr.count("outputs/prepare/corpus.json") == 2


@needs("hydra/launcher=local")
def test_parallel_jobs_give_the_bytes_of_one_after_the_other_and_share_the_cores(checkout):
    sweep = checkout / "outputs/sweeps/transformer"
    command = ("-m", SMOKE, "transformer.n_layer=1,2")
    checkout.stage("transformer", *command).succeeded()
    one_by_one = results(sweep)
    shutil.rmtree(sweep)
    parallel = (*command, "hydra/launcher=local", "hydra.launcher.n_jobs=2")
    checkout.stage("transformer", *parallel).succeeded()
    assert results(sweep) == one_by_one
    assert len([name for name in one_by_one if name.endswith("checkpoint.safetensors")]) == 2
    told = [json.loads(path.read_bytes()) for path in sweep.rglob("environment.json")]
    assert [each["threads"] for each in told] == [max(1, len(os.sched_getaffinity(0)) // 2)] * 2


@pytest.mark.slow
@needs("hydra/launcher=local")
def test_a_killed_job_is_named_and_the_same_command_does_only_what_is_missing(checkout):
    sweep = checkout / "outputs/sweeps/transformer"
    command = ("-m", SMOKE, *LONG, "seed=0,1", "hydra/launcher=local", "hydra.launcher.n_jobs=2")
    script = (sys.executable, "stages/transformer.py")
    checkout.run(*script, *command[:-2], "hydra/launcher=basic").succeeded()
    undisturbed = results(sweep)
    jobs = sorted(path.parent for path in sweep.rglob("checkpoint.safetensors"))
    shutil.rmtree(jobs[1])

    with checkout.start(*script, *command) as run:
        deadline = time.monotonic() + 60
        while not (jobs[1] / "unfinished.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(int((jobs[1] / ".lock").read_text()), signal.SIGKILL)
        stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "finished before" in stdout
    named, count = stderr.splitlines()[-2:]
    assert named.startswith(f"error: {jobs[1].relative_to(checkout.path)}: its process ended")
    assert count.startswith("error: 1 job of the sweep failed")

    done = checkout.run(*script, *command).succeeded()
    assert finished_before(done) == [str(jobs[0].relative_to(checkout.path))]
    assert "going on from step" in done.stdout
    assert results(sweep) == undisturbed
    assert not list(sweep.rglob("failed.json"))


@pytest.mark.slow
@needs("hydra/launcher=local")
def test_a_job_that_diverges_among_parallel_ones_costs_only_itself(checkout):
    diverging = ("transformer.optimizer=${mlp.optimizer}", "mlp.optimizer.learning_rate=1e30,0.01")
    done = checkout.stage("transformer", "-m", SMOKE, *diverging, "hydra/launcher=local")
    assert done.status == 1
    named, count = done.stderr.splitlines()[-2:]
    assert "learning_rate=1e+30" in named
    assert "the first that is not finite is" in named
    assert count.startswith("error: 1 job of the sweep failed")
    assert "Traceback" not in done.stderr
    assert len(list((checkout / "outputs/sweeps").rglob("checkpoint.safetensors"))) == 1


@pytest.mark.slow
def test_a_ladder_has_the_bytes_of_the_pipeline_and_no_part_runs_twice(smoke, checkout):
    ladder = checkout / f"outputs/sweeps/ladder/{SMOKE},tokenizer=char/seed=0"
    command = ("-m", SMOKE, "tokenizer=char,byte")
    pipeline = results(checkout / "outputs")
    checkout.stage("ladder", *command).succeeded()
    assert results(ladder) == pipeline

    done = checkout.stage("ladder", *command).succeeded()
    assert finished_before(done) == [
        f"outputs/sweeps/ladder/{SMOKE},tokenizer={name}/seed=0" for name in ("char", "byte")
    ]
    (ladder / "mlp/samples.txt").write_text("edited")
    done = checkout.stage("ladder", *command).succeeded()
    parts = [f"{ladder.relative_to(checkout.path)}/{name}" for name in ("prepare", "bigram")]
    assert finished_before(done)[:2] == parts
    assert "mlp" not in " ".join(finished_before(done))
    assert results(ladder) == pipeline

    sampled = ("sample", "--checkpoint", ladder / "transformer/checkpoint.safetensors")
    assert checkout.lmladder(*sampled, "--tokens", 5).succeeded().stdout
    table = checkout.lmladder("compare", "outputs/sweeps/ladder", "--json").succeeded()
    lines = json.loads(table.stdout)["lines"]
    assert {line["settings"]["tokenizer.name"] for line in lines} == {"char", "byte"}
    assert "left out" not in table.stderr


def test_a_ladder_that_fails_is_named(checkout):
    done = checkout.stage("ladder", "-m", SMOKE, "data=file", "data.path=missing.txt")
    assert done.status == 2
    named, _ = done.stderr.splitlines()[-2:]
    assert "data.path=missing.txt" in named
    assert named.endswith("there is no file missing.txt")


@pytest.mark.slow
@needs("hydra/sweeper=tpe")
def test_a_search_finds_the_least_validation_nats_and_goes_on_where_it_was(checkout):
    space = "transformer.optimizer.matrix_learning_rate=tag(log, interval(0.001, 0.1))"
    search = ("-m", SMOKE, "hydra/sweeper=tpe", space)
    checkout.stage("transformer", *search, "hydra.sweeper.n_trials=2").succeeded()
    done = checkout.stage("transformer", *search, "hydra.sweeper.n_trials=3").succeeded()
    assert len(finished_before(done)) == 2
    sweep = checkout / "outputs/sweeps/transformer"
    found = [json.loads(path.read_bytes())["val_nats"] for path in sweep.rglob("metrics.json")]
    best = yaml.safe_load((sweep / "optimization_results.yaml").read_text())["best_value"]
    assert len(found) == 3
    assert best == pytest.approx(min(found), abs=1e-6)


@needs("hydra/launcher=slurm")
def test_a_launcher_that_cannot_run_is_told_in_one_line(checkout, tmp_path):
    tools = tmp_path / "tools"  # where there is no Slurm
    tools.mkdir()
    command = ("-m", SMOKE, "seed=0,1", "hydra/launcher=slurm")
    done = checkout.stage("transformer", *command, environment={"PATH": str(tools)})
    done.failed_in_one_line(1, "the sweep could not be run", "slurm")


@pytest.mark.slow
@needs("hydra/launcher=ray_local")
def test_a_sweep_on_ray_gives_the_bytes_of_one_after_the_other(checkout):
    assert_same_bytes_on(checkout, "ray_local")


@pytest.mark.slow
@needs("hydra/launcher=slurm")
@pytest.mark.skipif(shutil.which("sbatch") is None, reason="no Slurm on this machine")
def test_a_sweep_on_slurm_gives_the_bytes_of_one_after_the_other(checkout):
    assert_same_bytes_on(checkout, "slurm")


def assert_same_bytes_on(checkout, launcher):
    sweep = checkout / "outputs/sweeps/ladder"
    command = ("-m", SMOKE, "seed=0,1")
    checkout.stage("ladder", *command).succeeded()
    one_by_one = results(sweep)
    shutil.rmtree(sweep)
    checkout.stage("ladder", *command, f"hydra/launcher={launcher}").succeeded()
    assert results(sweep) == one_by_one
