"""dvc.yaml: a stage depends on the code that it calls, and reruns only when that changes.

Experiments and remotes are covered by the commands of docs/dvc.md, which test_walkthroughs.py runs.
"""

import json
import re
import shutil
import sys

from lmladder.system import runtime
from tests.pipeline.conftest import PROJECT

import pytest
import yaml

STAGES = ("prepare", "bigram", "mlp", "transformer", "evaluate")
SETTINGS = "their values arrive by params.yaml"
UNCHANGING = {  # modules that are called and cannot change a result, by regular expression
    r"config/.*|.*settings\.py|models/(registry|own)\.py": SETTINGS,
    r"pipeline/(__init__|entry|stages|sweeps)\.py": "they start a stage",
    r"pipeline/text\.py": "they only check",
    r"experiments/jobs\.py": "it decides whether an unfinished run is continued",
    r"system/(environment|interrupts|lazy|locks)\.py": "nothing that they do is in a file",
    r"system/(messages|progress)\.py": "they print",
}
THREADS = r"kernels/.*|system/runtime\.py"  # all that a stage without kernels asks of them
MORE = {"prepare": (THREADS, r"pipeline/rungs\.py"), "bigram": (THREADS,)}
TRACE = """
import cProfile, importlib, os, pathlib, pkgutil, runpy, sys
import lmladder

sys.path[0] = "stages"
for module in pkgutil.walk_packages(lmladder.__path__, "lmladder."):
    importlib.import_module(module.name)  # so that no call of a stage is one of an import
for stage in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    sys.argv[1:] = ["-cn", "pipeline"]
    with cProfile.Profile() as profile:
        runpy.run_path(f"stages/{stage}.py", run_name="__main__")
    files = {getattr(each.code, "co_filename", "") for each in profile.getstats()}
    pathlib.Path(stage + ".called").write_text("\\n".join(files))
    break
"""


def stages_of_dvc():
    return yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]


def code_deps(stage):
    """The dependencies of a stage that are code, within src/lmladder."""
    deps = stage.get("do", stage)["deps"]
    return [dep.removeprefix("src/lmladder/") for dep in deps if dep.startswith("src/")]


def unlisted_and_unused(checkout, stage, *more):
    """The modules that a traced stage called without a dependency, and the unused dependencies."""
    root = f"{checkout.path}/src/lmladder/"
    files = (checkout / f"{stage}.called").read_text().splitlines()
    called = {each.removeprefix(root) for each in files if each.startswith(root)}
    deps = code_deps(stages_of_dvc()[stage])
    known = "|".join([*(rf"{re.escape(dep)}(/.*)?" for dep in deps), *UNCHANGING, *more])
    used = {dep for dep in deps if any(f"{each}/".startswith(f"{dep}/") for each in called)}
    return {each for each in called if not re.fullmatch(known, each)}, set(deps) - used


def stale(checkout):
    """What dvc.lock no longer describes: {(stage, file)}; outputs may be missing, as in a clone."""
    found = json.loads(checkout.dvc("status", "--json").succeeded().stdout)
    return {
        (stage, path)
        for stage, changes in found.items()
        for change in changes
        for files in ([{"command": "changed"}] if isinstance(change, str) else change.values())
        for path, how in files.items()
        if how not in ("deleted", "not in cache")
    }


def test_the_deps_of_a_stage_are_the_modules_whose_functions_it_calls(checkout):
    for stage in STAGES[1:]:
        shutil.rmtree(checkout / "outputs" / stage)
    checkout.run(sys.executable, "-c", TRACE, *STAGES).succeeded()
    for stage in STAGES:
        unlisted, unused = unlisted_and_unused(checkout, stage, *MORE.get(stage, ()))
        assert (unlisted, unused) == (set(), set()), stage


def test_a_further_rung_depends_on_the_code_of_all_rungs():
    stages = stages_of_dvc()
    assert set(stages) == {*STAGES, "rung", "mixture"}
    rung = tuple(f"{dep}/" for dep in code_deps(stages["rung"]))
    fitted = {dep for stage in STAGES[1:4] for dep in code_deps(stages[stage])}
    assert {dep for dep in fitted if not f"{dep}/".startswith(rung)} == set()
    assert "models/" in rung  # of which a kind of one's own may use any


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
    (checkout / "src/lmladder/nn/extra.py").touch()
    using = ("mlp", "transformer", "evaluate")
    assert stale(checkout) == {(stage, "src/lmladder/nn") for stage in using}


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("seed=1", ["bigram", "mlp", "transformer", "evaluate"]),
        ("runtime.kernels=numpy", ["mlp", "transformer", "evaluate"]),
        ("runtime.threads=1 sample.temperature=0.5", ["evaluate"]),
    ],
)
def test_a_setting_concerns_the_stages_that_it_can_change(checkout, override, stages):
    checkout.compose(*override.split())
    assert checkout.dvc("repro", "--dry").succeeded().stages_run == stages


@pytest.mark.slow
def test_a_comment_reruns_the_stages_that_compute_with_the_file_to_the_same_bytes(smoke, checkout):
    for module in ("data/corpora.py", "optim/muon.py", "cli/main.py"):
        with (checkout / "src/lmladder" / module).open("a") as file:
            file.write("# another line\n")
    assert checkout.dvc("repro").succeeded().stages_run == ["prepare", "mlp", "transformer"]
    assert checkout.outputs() == smoke.outputs()


@pytest.mark.slow
def test_settings_that_have_run_before_are_restored_without_training(smoke, checkout):
    checkout.compose("transformer.n_layer=2", "sample.temperature=0.5")
    assert checkout.dvc("repro").succeeded().stages_run == ["transformer", "evaluate"]
    checkout.compose()
    done = checkout.dvc("repro").succeeded()
    assert done.stages_run == ["evaluate"]
    assert "Stage 'transformer' is cached - skipping run" in done.stdout
    assert checkout.outputs() == smoke.outputs()


def test_the_plots_have_their_data_titles_and_axes(smoke):
    plots = json.loads(smoke.dvc("plots", "show", "--json").succeeded().stdout)["data"]
    histories = {f"outputs/{rung}/history.csv" for rung in ("mlp", "transformer")}
    assert plots.keys() == {"losses", *histories}
    for (plot,) in plots.values():
        content = json.dumps(plot["content"])
        assert '"tokens seen' in content
        assert re.search('"nats', content)
        rows = plot["content"]["data"]["values"]
        drawn = {row.get("dvc_inferred_y_value", row.get("val_loss")) for row in rows}
        assert drawn
        assert "" not in drawn  # which Vega would draw as 0


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("mlp", marks=pytest.mark.slow),
        pytest.param("evaluate", marks=pytest.mark.pages),
    ],
)
@pytest.mark.skipif(not runtime.has_avx2(), reason="other vector instructions round differently")
def test_a_fresh_clone_ends_with_every_committed_byte(clone, last):
    """The promise: whoever clones this project and runs it has the committed results."""
    stages = list(STAGES)[: list(STAGES).index(last) + 1]
    done = clone.dvc("repro", "--force", *stages).succeeded()  # even what is up to date
    assert sorted(done.stages_run) == sorted(stages)
    assert clone.git("status", "--porcelain") == ""
    assert clone.dvc("repro", *stages).succeeded().stages_run == []
