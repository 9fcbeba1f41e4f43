"""dvc.yaml names all that a stage reads, and dvc.lock is of this work tree."""

import configparser
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
STAGES = tuple(yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"])
NOT_CODE = ("conf", "params.yaml")  # a stage reads them too; DVC compares the values instead


def module_of(dep):
    """src/lmladder/text -> lmladder.text, src/lmladder/rng.py -> lmladder.rng"""
    path = Path(dep).with_suffix("").relative_to("src")
    return ".".join(path.parent.parts if path.name == "__init__" else path.parts)


def covers(module, imported):
    """Whether `imported` is `module`, or lies in it; `lmladder` itself covers itself alone."""
    return imported == module or (module != "lmladder" and imported.startswith(f"{module}."))


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        compiled = shutil.ignore_patterns("*.pyc")  # but kernels, which take long to compile, stay
        shutil.copytree(source, target, ignore=compiled, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def stale(checkout):
    """What dvc.lock no longer describes: [(stage, file or "command", how it differs)].

    Outs that DVC caches may be missing, as they are in a clone. What takes their place is that a
    stage has read the very file that the stage before it has written.
    """
    found = []
    cached = cached_outs(checkout)
    written = {
        out["path"]: out["md5"] for locked in checkout.lock.values() for out in locked["outs"]
    }
    for stage, locked in checkout.lock.items():
        for dep in locked["deps"]:
            if written.get(dep["path"], dep["md5"]) != dep["md5"]:
                found.append((stage, dep["path"], "of another run"))
    for stage, changes in json.loads(checkout.dvc("status", "--json").succeeded().stdout).items():
        for change in changes:
            if change == "changed command":
                found.append((stage, "command", "modified"))
                continue
            for differing in change.values():
                for path, how in differing.items():
                    if not (path in cached and how in ("deleted", "not in cache")):
                        found.append((stage, path, how))
    return found


def cached_outs(checkout):
    """The outs that git does not keep."""
    kept = set()
    for stage in yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"].values():
        for out in [*stage["outs"], *stage.get("metrics", []), *stage.get("plots", [])]:
            if isinstance(out, dict):
                kept |= {path for path, how in out.items() if how.get("cache") is False}
    return {out["path"] for locked in checkout.lock.values() for out in locked["outs"]} - kept


@pytest.fixture
def without_cache(checkout):
    """`checkout` as a clone would be: what git does not keep is not there."""
    shutil.rmtree(checkout / ".dvc/cache")
    for path in cached_outs(checkout):
        (checkout / path).unlink()
    assert not (checkout / "outputs/transformer/checkpoint.safetensors").exists()
    assert (checkout / "outputs/transformer/metrics.json").exists()
    return checkout


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_from_its_deps_alone_and_imports_each_of_them(smoke, stage, tmp_path):
    locked = smoke.lock[stage]
    deps = [dep["path"] for dep in locked["deps"]]
    for name in (*deps, *NOT_CODE):
        copy(smoke / name, tmp_path / name)
    alone = type(smoke)(tmp_path)
    done = alone.run("sh", "-c", locked["cmd"], environment={"PYTHONPROFILEIMPORTTIME": "1"})
    done.succeeded()
    imports = {
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert "lmladder.stage" in imports
    ours = [module_of(dep) for dep in deps if dep.startswith("src/lmladder/")]
    unused = [module for module in ours if not any(covers(module, name) for name in imports)]
    assert unused == []
    for out in locked["outs"]:
        assert (tmp_path / out["path"]).read_bytes() == (smoke / out["path"]).read_bytes()


@pytest.mark.parametrize("stage", STAGES)
def test_outs_lie_in_the_folder_of_their_stage_and_are_no_facts_of_one_machine(smoke, stage):
    for out in smoke.lock[stage]["outs"]:
        path = Path(out["path"])
        assert path.parent == Path("outputs") / stage
        assert path.name not in ("performance.json", "environment.json")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_own_script_and_no_other(smoke, stage):
    scripts = [dep["path"] for dep in smoke.lock[stage]["deps"] if dep["path"].startswith("stages")]
    assert scripts == [f"stages/{stage}.py"]


def test_there_are_the_five_stages_of_the_design():
    assert set(STAGES) == {"prepare", "bigram", "mlp", "transformer", "evaluate"}


def test_dvc_sends_nothing_and_asks_nobody_for_updates(project):
    settings = configparser.ConfigParser()
    settings.read_string((project / ".dvc/config").read_text().replace("    ", ""))
    assert settings["core"]["analytics"] == "false"
    assert settings["core"]["check_update"] == "false"


def test_dvc_lock_is_of_this_work_tree_and_params_yaml(project, smoke, tmp_path):
    if not (project / "dvc.lock").exists():
        pytest.skip("no dvc.lock is committed yet")
    checkout = type(smoke)(tmp_path / "checkout")
    shutil.copytree(smoke.path, checkout.path, ignore=shutil.ignore_patterns("cache", "outputs"))
    for name in ("dvc.lock", "params.yaml"):
        shutil.copyfile(project / name, checkout / name)
    for locked in checkout.lock.values():
        for out in locked["outs"]:
            if os.path.exists(project / out["path"]):
                copy(project / out["path"], checkout / out["path"])
    assert set(checkout.lock) == set(STAGES)
    found = stale(checkout)
    assert not found, "\n".join(["run dvc repro, as other than in dvc.lock:", *map(str, found)])


def test_a_clone_without_the_cache_is_not_stale(without_cache):
    assert stale(without_cache) == []


def test_a_changed_module_makes_the_stages_that_import_it_stale(without_cache):
    with (without_cache / "src/lmladder/training.py").open("a") as file:
        file.write("# another line\n")
    assert stale(without_cache) == [
        (stage, "src/lmladder/training.py", "modified")
        for stage in ("bigram", "mlp", "transformer", "evaluate")
    ]


def test_a_module_added_to_a_package_makes_stages_stale(without_cache):
    (without_cache / "src/lmladder/nn/extra.py").touch()
    found = stale(without_cache)
    assert ("mlp", "src/lmladder/nn", "modified") in found
    assert "prepare" not in {stage for stage, _, _ in found}


def test_compiled_modules_make_no_stage_stale(without_cache):
    (without_cache / "src/lmladder/nn/__pycache__").mkdir(exist_ok=True)
    (without_cache / "src/lmladder/nn/__pycache__/extra.pyc").touch()
    assert stale(without_cache) == []


def test_other_params_and_edited_results_are_stale(without_cache):
    without_cache.compose("seed=1")
    (without_cache / "outputs/mlp/metrics.json").write_text("{}\n")
    found = stale(without_cache)
    assert ("mlp", "outputs/mlp/metrics.json", "modified") in found
    assert {stage for stage, path, _ in found if path == "params.yaml"} == set(STAGES) - {"prepare"}


def test_a_rung_trained_on_another_run_of_prepare_is_stale(without_cache):
    path = without_cache / "dvc.lock"
    stages = without_cache.lock
    stages["prepare"]["outs"][0]["md5"] = "0" * 32
    path.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))
    name = stages["prepare"]["outs"][0]["path"]
    assert ("mlp", name, "of another run") in stale(without_cache)
