"""dvc.yaml: a stage depends on the code that it calls, and reruns only when that changes."""

import json
import os
import re
import shutil
import sys
from contextlib import chdir
from unittest.mock import patch

from tests.pipeline.conftest import PROJECT, PYTHON

import pytest
import yaml
from dvc.repo import Repo

DVC = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
STAGES = ("prepare", "bigram", "mlp", "transformer", "evaluate")
# What is called without a dependency: "stage module", as a regular expression, and why.
EXCEPTIONS = {
    r"\w+ config/\w+\.py": "the values of settings are in params.yaml",
    r"prepare (models/\w+|pipeline/rungs)\.py": "they check the settings of all rungs",
    r"(prepare|bigram) kernels/\w+\.py": "they are selected, and none is called",
    r"\w+ pipeline/(running|text)\.py": "they open what the stage reads, and check it",
    r"\w+ pipeline/loggers\.py": "what they write is no output",
    r"\w+ experiments/jobs\.py": "it decides whether an unfinished run is continued",
}
TRACE = """
import importlib, os, pathlib, pkgutil, sys, threading
import lmladder
from lmladder.config.composing import validated
from lmladder.pipeline.running import run
from matplotlib.figure import Figure
from omegaconf import OmegaConf

# Matplotlib makes most calls, and none of ours.
Figure.draw, Figure.savefig = lambda *_: None, lambda _, file, **options: file.write("<svg>")
for module in pkgutil.walk_packages(lmladder.__path__, "lmladder."):
    importlib.import_module(module.name)  # so that no call of a stage is one of an import
sys.path[0] = ""
called, outputs = set(), pathlib.Path("outputs")
def note(frame, event, argument):
    called.add(frame.f_code.co_filename)
for folder in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    stage, _, name = folder.replace("s/", "/").partition("/")
    body = getattr(importlib.import_module(f"stages.{stage}"), stage)
    config = validated(OmegaConf.load("params.yaml")).model_copy(update={"rung": name})
    threading.settrace(note)
    sys.settrace(note)
    run(getattr(body, "__wrapped__", body), config, outputs / folder, outputs)
    pathlib.Path(f"{stage}.called").write_text("\\n".join(called))
    break
"""


def stale(checkout):
    """What dvc.lock no longer describes: {(stage, file)}; outputs may be missing, as in a clone."""
    with chdir(checkout.path), patch.dict(os.environ, checkout.environment), Repo() as repo:
        found = repo.status()
    return {
        (stage, path)
        for stage, changes in found.items()
        for change in changes
        for files in ([{"command": "changed"}] if isinstance(change, str) else change.values())
        for path, how in files.items()
        if how not in ("deleted", "not in cache")
    }


def test_the_dependencies_of_a_stage_are_the_modules_whose_functions_it_calls(checkout):
    members = "mixtures.b.members=[kneser_ney_3,mlp]"
    more = ("+rungs.a=${with_seed:transformer,1}", "+mixture@mixtures.b=default", members)
    checkout.compose(*more).succeeded()
    for stage in STAGES[1:]:
        shutil.rmtree(checkout / "outputs" / stage)
    folders = (*STAGES[:-1], "rungs/a", "mixtures/b", "evaluate")
    checkout.run(PYTHON, "-c", TRACE, *folders).succeeded()
    missing, unused, root = set(), set(), f"{checkout.path}/"
    for stage, facts in DVC.items():
        files = (checkout / f"{stage}.called").read_text().splitlines()
        called = {f"{each.removeprefix(root)}/" for each in files if each.startswith(root)}
        deps = {f"{dep}/" for dep in facts.get("do", facts)["deps"] if dep.startswith("s")}
        missing |= {(stage, each) for each in called if not each.startswith(tuple(deps))}
        unused |= {(stage, dep) for dep in deps if not any(each.startswith(dep) for each in called)}
    named = {f"{stage} {each.removeprefix('src/lmladder/')[:-1]}" for stage, each in missing}
    excused = {(one, each) for one in EXCEPTIONS for each in named if re.fullmatch(one, each)}
    assert named - {each for _, each in excused} == set()
    assert EXCEPTIONS.keys() - {one for one, _ in excused} == set()
    assert unused == set()


def test_dvc_lock_is_of_this_work_tree_and_params_yaml(smoke, tmp_path):
    checkout = type(smoke)(tmp_path / "checkout")
    shutil.copytree(smoke.path, checkout.path, ignore=shutil.ignore_patterns("cache", "outputs"))
    for name in ("dvc.lock", "params.yaml", "outputs"):
        source = PROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, checkout / name)
    found = stale(checkout)
    assert not found, f"run dvc repro, as dvc.lock is of others than these: {sorted(found)}"


def test_a_clone_is_not_stale_whatever_is_compiled_and_an_edited_module_makes_it_so(checkout):
    shutil.rmtree(checkout / ".dvc/cache")
    for stage in STAGES[:-1]:
        shutil.rmtree(checkout / "outputs" / stage)
    (checkout / "src/lmladder/nn/__pycache__").mkdir(exist_ok=True)
    (checkout / "src/lmladder/nn/__pycache__/extra.pyc").touch()
    assert stale(checkout) == set()
    path, formula = checkout / "src/lmladder/models/transformer.py", "2 * self.n_layer"
    assert path.read_text().count(formula) == 1  # of a property of settings
    path.write_text(path.read_text().replace(formula, "3 * self.n_layer"))
    assert stale(checkout) == {(stage, "src/lmladder/models") for stage in STAGES[1:]}


def test_a_setting_concerns_the_stages_that_it_can_change(checkout):
    for override, concerned in {
        "seed=1": STAGES[1:],
        "runtime.kernels=numpy": STAGES[2:],
        "runtime.threads=1": (),
        "sample.temperature=0.5": ("evaluate",),
    }.items():
        checkout.compose(override).succeeded()
        assert stale(checkout) == {(stage, "params.yaml") for stage in concerned}


@pytest.mark.slow
def test_a_comment_gives_the_same_bytes_and_earlier_settings_are_restored(smoke, checkout):
    for module in ("optim/muon.py", "cli/main.py"):
        with (checkout / "src/lmladder" / module).open("a") as file:
            file.write("# another line\n")
    assert checkout.dvc("repro").succeeded().stages_run == ["mlp", "transformer"]
    assert checkout.outputs() == smoke.outputs()
    checkout.compose("transformer.n_layer=2", "sample.temperature=0.5").succeeded()
    assert checkout.dvc("repro").succeeded().stages_run == ["transformer", "evaluate"]
    checkout.compose().succeeded()
    done = checkout.dvc("repro").succeeded()
    assert done.stages_run == ["evaluate"]
    assert "Stage 'transformer' is cached - skipping run" in done.stdout
    assert checkout.outputs() == smoke.outputs()


def test_the_plots_have_their_data_titles_and_axes(smoke):
    plots = json.loads(smoke.dvc("plots", "show", "--json").succeeded().stdout)["data"]
    ((plot,),) = plots.values()
    content = json.dumps(plot["content"])
    assert '"tokens seen' in content
    assert '"nats per token' in content
    rows = plot["content"]["data"]["values"]
    assert {row["rev"] for row in rows} == {"workspace"}
    drawn = [row.get("dvc_inferred_y_value", row.get("val_loss")) for row in rows]
    assert len(drawn) == 2 * 3  # evaluations of two rungs
    assert "" not in drawn  # which Vega would draw as 0


def test_the_site_cache_of_dvc_is_private_after_make(checkout):
    site = checkout / ".dvc/site_cache"
    (checkout / ".venv").mkdir()
    checkout.run("make", ".venv/.ready", f"BIN={PYTHON.parent}", "SYNC=true").succeeded()
    assert site.stat().st_mode & 0o077 == 0
    checkout.dvc("status", environment={"DVC_SITE_CACHE_DIR": ""}).succeeded()
    assert [*(site / "repo").iterdir()]
    assert checkout.git("status", "--porcelain", ".dvc") == ""


@pytest.mark.pages
@pytest.mark.skipif(sys.platform != "linux", reason="other libraries round differently")
def test_a_fresh_clone_ends_with_every_committed_byte(clone):
    """The promise: whoever clones this project and runs it has the committed results."""
    done = clone.dvc("repro", "--force").succeeded()  # even what is up to date
    assert sorted(done.stages_run) == sorted(STAGES)
    assert clone.git("status", "--porcelain") == ""
    assert clone.dvc("repro").succeeded().stages_run == []
