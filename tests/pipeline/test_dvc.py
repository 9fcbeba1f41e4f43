"""dvc.yaml: a stage depends on the code that it calls, and reruns only when that changes."""

import json
import re
import shutil
import sys

import pytest
import yaml

STAGES = ("prepare", "bigram", "mlp", "transformer", "evaluate")
SETTINGS = "their values arrive by params.yaml"
UNCHANGING = {  # modules that are called and cannot change a result, by regular expression
    r"config/.*|.*settings\.py|models/registry\.py": SETTINGS,
    r"pipeline/(entry|stages)\.py": "they start a stage, and record facts of the machine",
    r"pipeline/(text|memory)\.py": "they only check",
    r"experiments/jobs\.py": "it decides whether an unfinished run is continued",
    r"system/(environment|interrupts|lazy|locks|progress)\.py": "nothing that they do is in a file",
}
OTHER_KINDS = "models/recurrent.py"  # that a stage may train
THREADS = r"|kernels/.*|system/runtime\.py"  # all that a stage without kernels asks of them
MORE = {"prepare": THREADS + r"|pipeline/rungs\.py", "bigram": THREADS}
TRACE = """
import inspect, pathlib, runpy, sys, threading
root, called = str(pathlib.Path("src/lmladder").resolve()) + "/", set()

def importing(frame):
    code = frame.f_code
    if code.co_name == "<module>" and code.co_filename.startswith(root):
        return True
    return frame.f_back is not None and importing(frame.f_back)

def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code not in called:
        if code.co_filename.startswith(root) and not importing(frame):
            called.add(code)

sys.argv = sys.argv[1:]
sys.path[0] = "stages"
threading.settrace(note)  # with a function that returns None, of calls alone
sys.settrace(note)
runpy.run_path(sys.argv[0], run_name="__main__")
sys.settrace(None)
print(*{"called " + code.co_filename.removeprefix(root) for code in called}, sep="\\n")
"""


def code_deps(stage):
    """The dependencies of a stage that are code, within src/lmladder."""
    deps = stage.get("do", stage)["deps"]
    return [dep.removeprefix("src/lmladder/") for dep in deps if dep.startswith("src/")]


def add_comment(checkout, module):
    with (checkout / "src/lmladder" / module).open("a") as file:
        file.write("# another line\n")


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


@pytest.mark.parametrize("stage", STAGES)
def test_the_deps_of_a_stage_are_the_modules_whose_functions_it_calls(checkout, project, stage):
    shutil.rmtree(checkout / "outputs" / stage)
    done = checkout.run(sys.executable, "-c", TRACE, f"stages/{stage}.py", "-cn", "pipeline")
    lines = done.succeeded().stdout.splitlines()
    called = {line.removeprefix("called ") for line in lines if line.startswith("called ")}
    deps = code_deps(yaml.safe_load((project / "dvc.yaml").read_text())["stages"][stage])
    covered = "|".join(rf"{re.escape(dep)}(/.*)?" for dep in deps)
    exempt = "|".join(UNCHANGING) + MORE.get(stage, "")
    assert {module for module in called if not re.fullmatch(f"{covered}|{exempt}", module)} == set()
    unused = [
        dep
        for dep in deps
        if dep != OTHER_KINDS and not any(f"{each}/".startswith(f"{dep}/") for each in called)
    ]
    assert unused == []


def test_a_further_rung_depends_on_the_code_of_all_kinds_that_are_trained(project):
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    assert set(stages) == {*STAGES, "rung"}
    trained = {dep for stage in ("mlp", "transformer") for dep in code_deps(stages[stage])}
    assert set(code_deps(stages["rung"])) == trained


def test_outs_are_in_the_folder_of_their_stage(smoke):
    for stage, locked in smoke.lock.items():
        assert {out["path"].rpartition("/")[0] for out in locked["outs"]} == {f"outputs/{stage}"}


def test_dvc_lock_is_of_this_work_tree_and_params_yaml(project, smoke, tmp_path):
    checkout = type(smoke)(tmp_path / "checkout")
    shutil.copytree(smoke.path, checkout.path, ignore=shutil.ignore_patterns("cache", "outputs"))
    for name in ("dvc.lock", "params.yaml", "outputs"):
        source = project / name
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
        ("runtime.threads=1", []),
        ("runtime.kernels=numpy", ["mlp", "transformer", "evaluate"]),
        ("sample.temperature=0.5", ["evaluate"]),
    ],
)
def test_a_setting_concerns_the_stages_that_it_can_change(checkout, override, stages):
    checkout.compose(override)
    assert checkout.dvc("repro", "--dry").succeeded().stages_run == stages


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("kernels/fused.py", ["mlp", "transformer", "evaluate"]),
        ("optim/muon.py", ["mlp", "transformer"]),
        ("training/loop.py", ["mlp", "transformer"]),
        ("reports/table.py", ["evaluate"]),
        ("data/tales.py", ["prepare"]),
        ("cli/main.py", []),
    ],
)
def test_a_comment_reruns_the_stages_that_compute_with_the_file_to_the_same_bytes(
    checkout, module, stages
):
    before = checkout.outputs()
    add_comment(checkout, module)
    assert checkout.dvc("repro").succeeded().stages_run == stages
    assert checkout.outputs() == before
    assert checkout.dvc("repro").succeeded().stages_run == []


@pytest.mark.slow
def test_settings_that_have_run_before_are_restored_without_training(smoke, checkout):
    checkout.compose("transformer.n_layer=2", "sample.temperature=0.5")
    assert checkout.dvc("repro").succeeded().stages_run == ["transformer", "evaluate"]
    before, after = smoke.table(), checkout.table()
    changed = {row["model"] for row in after if row not in before}
    assert changed == {"transformer"}
    checkout.compose()
    done = checkout.dvc("repro").succeeded()
    assert done.stages_run == ["evaluate"]
    assert "Stage 'transformer' is cached - skipping run" in done.stdout
    assert checkout.outputs() == smoke.outputs()
