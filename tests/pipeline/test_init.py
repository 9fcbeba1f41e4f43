"""`lmladder init`: a project of one's own, which runs with lmladder installed from a wheel."""

import shutil
import sys

from tests.pipeline.conftest import PROJECT, PYTHON, Checkout, new_checkout

import pytest
import yaml

MAIN = "from lmladder.cli.main import main; main()"
TINY = (
    "experiment=smoke",
    "rungs.lstm.hidden_size=8",
    "rungs.lstm.context_length=16",
    "rungs.lstm.schedule.warmup_steps=2",
    "rungs.lstm.training.steps=8",
    "rungs.lstm.training.evaluate_every=4",
    "rungs.lstm.training.sequence_length=16",
)


def test_a_project_has_the_stages_without_the_code_and_a_rung_of_its_own(lmladder, tmp_path):
    done = lmladder("init", tmp_path / "new/mine").succeeded()
    assert f"next: cd {tmp_path}/new/mine && lmladder run, which" in done.stderr.splitlines()[-1]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine"]
    project = Checkout(tmp_path / "new/mine")
    declared, ours = (
        yaml.safe_load((folder / "dvc.yaml").read_text())["stages"] for folder in (project, PROJECT)
    )
    for name, stage in declared.items():
        found, expected = (
            [dep for dep in each.get("do", each)["deps"] if not dep.startswith("src/")]
            for each in (stage, ours[name])
        )
        assert found == ["requirements.txt", *expected]
    params = yaml.safe_load((project / "params.yaml").read_text())
    for file in ("Makefile", params["rungs"]["lstm"]["watch"], params["data"]["watch"]):
        assert (project / file).is_file()
    assert "src" not in (project / "dvc.yaml").read_text() + (project / ".dvc/config").read_text()
    listed = project.dvc("stage", "list", "--name-only").succeeded().stdout.split()
    assert listed == ["prepare", "bigram", "mlp", "transformer", "rung@lstm", "evaluate"]


def test_a_folder_that_exists_and_a_missing_git_are_named(lmladder, tmp_path, monkeypatch):
    (tmp_path / "a").write_text("")
    for path in (tmp_path, tmp_path / "a"):
        lmladder("init", path).failed_in_one_line(2, f"{path} exists; name a new folder")
    monkeypatch.setenv("PATH", str(tmp_path))
    lmladder("init", tmp_path / "b").failed_in_one_line(2, "git is not installed")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.pages
def test_a_project_runs_with_lmladder_from_a_wheel_outside_any_clone(tmp_path):
    source, site = new_checkout(tmp_path / "source"), tmp_path / "site"
    compiled = [*(source / "src/lmladder/kernels/__pycache__").glob("lmladder-*")]
    for folder in compiled:
        shutil.move(folder, tmp_path)
    built = source.run(PYTHON, "-m", "pip", "wheel", ".", "--no-deps", "-w", tmp_path / "wheel")
    if built.status and "setuptools" in built.stderr:
        pytest.skip("pip cannot get setuptools, which builds the wheel")
    built.succeeded()
    (wheel,) = (tmp_path / "wheel").iterdir()
    source.run(PYTHON, "-m", "pip", "install", "--no-deps", "--target", site, wheel).succeeded()
    shutil.rmtree(source.path)
    for folder in compiled:
        shutil.move(tmp_path / folder.name, site / "lmladder/kernels/__pycache__" / folder.name)

    outside = Checkout(tmp_path)
    installed = {"PYTHONPATH": str(site)}
    outside.run(PYTHON, "-c", MAIN, "init", "mine", environment=installed).succeeded()
    project = Checkout(tmp_path / "mine")
    compose = ("stages/compose.py", *TINY)
    project.run(PYTHON, *compose, environment=installed).succeeded()
    ran = project.dvc("repro", environment=installed).succeeded().stages_run
    assert ran == ["prepare", "bigram", "mlp", "transformer", "rung@lstm", "evaluate"]
    assert "LSTM" in {row["label"] for row in project.table()}
    assert project.dvc("repro", environment=installed).succeeded().stages_run == []

    path = project / "rungs/lstm.py"
    path.write_text(path.read_text().replace("forget + 1", "forget + 2"))
    ran = project.dvc("repro", environment=installed).succeeded().stages_run
    assert ran == ["rung@lstm", "evaluate"]
    verify = ("verify", "outputs/rungs/lstm", "--module", "rungs/lstm.py")
    done = project.run(sys.executable, "-c", MAIN, *verify, environment=installed).succeeded()
    assert "bit-identical" in done.stdout
