"""Sweeps: what parallel jobs leave, what runs again, and what is reported of a job that failed."""

import importlib.util
import itertools
import json
import os
import shutil
import signal

from lmladder.pipeline import sweeps
from lmladder.pipeline.sweeps import REPEAT, folders, short
from lmladder.system.files import work_folder
from tests.pipeline.conftest import PYTHON, wait_for

import pytest

SMOKE = "experiment=smoke"
LONG = ("transformer.training.steps=2400", "transformer.training.evaluate_every=120")
LOCAL = ("hydra/launcher=local", "hydra.launcher.n_jobs=2")


def results(folder):
    """The bytes of all results of a sweep or a ladder that do not name overrides, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".csv", ".npy", ".txt", ".html", ".md", ".svg")
        and not {".work", "runs", "sweeps"} & {*path.relative_to(folder).parts}
    }


def finished_before(done):
    mark = "already finished: "
    lines = done.succeeded().stdout.splitlines()
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


@pytest.mark.skipif(importlib.util.find_spec("optuna") is not None, reason="it is installed")
def test_a_sweeper_that_is_not_installed_is_named_with_its_extra(smoke):
    done = smoke.by_hand("transformer", "-m", "hydra/sweeper=tpe")
    done.failed_in_one_line(2, "is not installed", "pip install -e '.[optuna]'")


@pytest.mark.slow
def test_every_job_that_fails_is_named_and_the_other_jobs_go_on(checkout):
    swept = ("transformer.n_head=3,2", "transformer.optimizer.learning_rate=1e30,0.01")
    done = checkout.by_hand("transformer", "-m", SMOKE, *swept, *LOCAL)
    diverged, *wrong, count = done.stderr.splitlines()
    assert done.status == 1
    assert "learning_rate=1e+30/seed=0: transformer: loss nan" in diverged
    mistake = "transformer.n_head=3 does not divide d_model=16"
    assert [line.endswith(mistake) for line in wrong] == [True, True]
    assert count == f"error: 3 jobs of the sweep failed; {REPEAT}"


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("prepare", ["data=file", f"data.path=../../../nowhere.txt,{'x' * 300}.txt", "seed=0"]),
        ("bigram", ["hydra.sweep.subdir=../elsewhere"]),
    ],
)
def test_a_failed_job_is_reported_and_its_folder_is_in_that_of_the_sweep(
    smoke, checkout, stage, overrides
):
    before = {*checkout.path.rglob("*")}
    done = checkout.by_hand(stage, "-m", *overrides)
    assert done.status == 2
    lines = done.stderr.splitlines()
    assert 0 < len(lines) <= 3
    assert all(line.startswith("error: ") for line in lines)
    new = [path for path in checkout.path.rglob("*") if path not in before and path.is_file()]
    assert all(path.is_relative_to(checkout / "outputs/sweeps") for path in new)


def test_a_job_is_named_after_what_is_swept_and_the_sweep_after_what_is_not():
    given = ("-m", "mlp=gru", "+rungs=deep", "seed=0,1", "transformer.n_layer=1,2", "hydra.x=1")
    keys, folder = (each.partition("=")[2] for each in folders(given, "mlp"))
    assert (keys, folder) == (
        "[mlp,rungs,runtime.threads,seed]",
        "'outputs/sweeps/mlp/+rungs=deep,mlp=gru'",
    )
    both = ("a@mlp.a=sgd", "a@transformer.a=adam,sgd", "hydra.sweep.dir=x")
    assert [each.partition("=")[2] for each in folders(both, "mlp")] == ["[runtime.threads,seed]"]
    assert short("a.b=1,c@d=[1,2]") == "a.b=1,c@d=[1,2]"
    names = {short(each) for each in ("a=x/y", "a=x_y", "a=x y", "a=..", "b" * 300, "b" * 301)}
    assert len(names) == 6
    assert all(len(each) < 100 and "/" not in each and ".." not in each for each in names)


def test_one_job_of_each_combination_of_choices_is_checked(monkeypatch, capsys):
    checked = []
    monkeypatch.setattr(sweeps, "validate_batch", lambda sweeper, jobs: checked.extend(jobs))
    values = [("seed=0", "seed=1"), ("+rungs.gru.depth=1", "+rungs.gru.depth=2")]
    choices = [("tokenizer=byte", "tokenizer=char"), ("optimizer@mlp.optimizer=adam", "x/y.z=1")]
    sweeps.check_choices(None, [*itertools.product(*values, *choices)])
    assert sorted(each[2:] for each in checked) == sorted(itertools.product(*choices))
    assert capsys.readouterr().out == "checking the choices of 16 jobs\n"


def test_many_overrides_make_a_short_path_and_finished_jobs_are_skipped(checkout):
    shared = ["+rungs.deep=${with_seed:mlp,1}", "rung=deep", f"sample.prompt={'Once' * 50}"]
    shared += [f"sample.{key}=0.9" for key in ("top_p", "min_p", "temperature")]
    sweep = ("rung", "-m", SMOKE, *shared, "seed=0,1")
    checkout.by_hand(*sweep).succeeded()
    (folder,) = (checkout / "outputs/sweeps/rung").iterdir()
    found = {each.name for each in folder.iterdir()}
    assert found - {".work"} == {"seed=0", "seed=1", "multirun.yaml"}
    (checkout / "src/lmladder/cli/main.py").write_text("")  # on which no stage depends
    assert len(finished_before(checkout.by_hand(*sweep))) == 2
    before = results(folder)
    (checkout / "outputs/prepare/corpus.json").write_text("{}")
    done = checkout.by_hand(*sweep)
    assert done.status == 2
    assert "error: 2 jobs of the sweep failed" in done.stderr
    assert results(folder) == before


@pytest.mark.slow
def test_killed_and_missing_jobs_are_reported_and_run_by_the_same_command(checkout):
    """Jobs in parallel give the bytes of one after the other, and share the cores."""
    command = ("-m", SMOKE, *LONG)
    checkout.by_hand("transformer", *command, "seed=0,1").succeeded()
    (sweep,) = (checkout / "outputs/sweeps/transformer").iterdir()
    undisturbed = results(sweep)
    finished, killed, stopped = (sweep / f"seed={seed}" for seed in range(3))
    shutil.rmtree(killed)
    half = [work_folder(job) / "unfinished.safetensors" for job in (killed, stopped)]
    command = (*command, "seed=0,1,2,3", *LOCAL)
    with checkout.start(PYTHON, "stages/transformer.py", *command) as run:
        wait_for(lambda: all(path.exists() for path in half), run)
        os.kill(int((work_folder(killed) / "lock").read_text()), signal.SIGKILL)
        stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "already finished" in stdout
    *lines, launcher, count = stderr.splitlines()
    names = [path.relative_to(checkout.path) for path in (killed, stopped)]
    for name, line in zip(names, sorted(lines), strict=True):
        assert line.startswith(f"error: {name}: its process ended without a message")
    assert launcher.startswith("error: the sweep could not be run: A worker process")
    assert count.startswith("error: 2 jobs of the sweep failed")
    done = checkout.by_hand("transformer", *command)
    assert finished_before(done) == [str(finished.relative_to(checkout.path))]
    assert "resuming from step" in done.stdout
    assert results(sweep).items() >= undisturbed.items()
    assert not list(sweep.rglob("failed.json"))
    facts = json.loads((work_folder(killed) / "machine.json").read_bytes())
    assert facts["environment"]["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)


@pytest.mark.slow
def test_a_ladder_has_the_bytes_of_the_pipeline_and_no_part_runs_twice(checkout):
    ladder, command = checkout / f"outputs/sweeps/ladder/{SMOKE}/seed=0", ("-m", SMOKE)
    pipeline = results(checkout / "outputs")
    checkout.by_hand("ladder", *command).succeeded()
    assert results(ladder) == pipeline
    (ladder / "mlp/metrics.json").write_text("edited")
    template = checkout / "src/lmladder/reports/layout/page.html.jinja"
    template.write_text(template.read_text().replace("</body>", "<p>more</p></body>"))
    parts = finished_before(checkout.by_hand("ladder", *command))
    names = [path.rpartition("/")[2] for path in parts]
    assert names == ["prepare", "bigram", "transformer"]
    changed = {name for name, data in results(ladder).items() if data != pipeline[name]}
    assert changed == {"evaluate/report.html"}


@pytest.mark.slow
def test_a_ladder_with_a_function_is_repeated_after_a_comment_in_its_file(checkout):
    size = json.loads((checkout / "outputs/prepare/corpus.json").read_text())["vocabulary_size"]
    code = f"import numpy as np\ndef f(context):\n    return np.full({size}, -np.log({size}))\n"
    (checkout / "guest.py").write_text(code)
    settings = "kind: callable, watch: guest.py, function: f, context_length: 4"
    ladder = ("ladder", "-m", SMOKE, f"+rungs={{guest: {{{settings}, parameters: 1}}}}")
    checkout.by_hand(*ladder).succeeded()
    (checkout / "guest.py").write_text(f"# a comment\n{code}")
    done = checkout.by_hand(*ladder).succeeded()
    assert "transformer: resuming from step 8" in done.stdout  # which is the last
    assert "already finished" not in done.stdout
