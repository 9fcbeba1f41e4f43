"""DVC's own views, experiments and remotes, on the pipeline with tiny settings."""

import json
import re
import shutil

from lmladder.system import runtime

import pytest

SCORES = "outputs/evaluate/metrics.json"


def as_json(checkout, *arguments):
    """What a command of DVC prints as JSON."""
    return json.loads(checkout.dvc(*arguments).succeeded().stdout)


@pytest.fixture
def baseline(checkout):
    """A checkout whose tiny settings are the default, and committed with their results."""
    checkout.make_tiny_settings_the_default()
    checkout.commit()
    return checkout


def try_two_layers(checkout):
    """An experiment with two layers, which then is not in the work tree; returns its outputs."""
    checkout.dvc("exp", "run", "--name", "deeper", "-S", "transformer.n_layer=2").succeeded()
    outputs = checkout.outputs()
    checkout.git("checkout", "--quiet", "HEAD", "--", ".")
    checkout.dvc("checkout", "--quiet").succeeded()
    return outputs


def test_the_plots_have_their_data_titles_and_axes(smoke):
    plots = as_json(smoke, "plots", "show", "--json")["data"]
    histories = {f"outputs/{rung}/history.csv" for rung in ("mlp", "transformer")}
    assert plots.keys() == {"losses", "surprise along the text", *histories}
    for (plot,) in plots.values():
        content = json.dumps(plot["content"])
        assert re.search('"(tokens seen|first token of)', content)
        assert re.search('"nats', content)
        rows = plot["content"]["data"]["values"]
        drawn = {row.get("dvc_inferred_y_value", row.get("val_loss")) for row in rows}
        assert drawn
        assert "" not in drawn  # which Vega would draw as 0


@pytest.mark.slow
def test_an_experiment_is_compared_applied_and_made_a_branch(baseline):
    try_two_layers(baseline)
    params = as_json(baseline, "params", "diff", "HEAD", "deeper", "--json")
    assert params == {"params.yaml": {"transformer.n_layer": {"old": 1, "new": 2, "diff": 1}}}
    metrics = as_json(baseline, "metrics", "diff", "HEAD", "deeper", "--json")
    assert set(metrics) == {SCORES, "outputs/transformer/metrics.json"}
    assert all(name.endswith(".transformer") for name in metrics[SCORES])
    assert set(as_json(baseline, "plots", "diff", "HEAD", "deeper", "--json")["data"]) >= {"losses"}
    done = baseline.lmladder("compare", "--rev", "HEAD", "--rev", "deeper", "--json")
    lines = json.loads(done.succeeded().stdout)["configurations"]
    depths = [line["shown"] for line in lines if line["model"] == "transformer"]
    assert sorted(depths) == ["n_layer=1", "n_layer=2"]
    baseline.dvc("exp", "branch", "deeper", "two-layers").succeeded()
    baseline.dvc("exp", "apply", "deeper").succeeded()
    assert baseline.git("diff", "two-layers") == ""
    assert baseline.dvc("repro").succeeded().stages_run == []


@pytest.mark.slow
def test_a_second_clone_pulls_everything_and_trains_nothing(baseline, tmp_path):
    shared = tmp_path / "shared.git"
    # As a path from .dvc/config, so that it is the same folder for a clone beside this one.
    baseline.dvc("remote", "add", "--default", "storage", "../storage").succeeded()
    baseline.commit()
    experiment, expected = try_two_layers(baseline), baseline.outputs()
    baseline.git("init", "--quiet", "--bare", "--initial-branch", "main", shared)
    baseline.git("push", "--quiet", shared, "HEAD:refs/heads/main")
    baseline.dvc("push").succeeded()
    baseline.git("remote", "add", "shared", shared)
    baseline.dvc("exp", "push", "shared", "deeper").succeeded()
    shutil.rmtree(baseline / ".dvc/cache")

    baseline.git("clone", "--quiet", shared, tmp_path / "second")
    second = type(baseline)(tmp_path / "second")
    assert not (second / "outputs/transformer/checkpoint.safetensors").exists()
    assert second.dvc("repro", "--pull").succeeded().stages_run == []
    second.dvc("pull").succeeded()
    assert second.outputs() == expected
    assert second.git("status", "--porcelain") == ""
    assert not list(second.path.rglob("performance.json"))  # which every stage that runs writes
    second.dvc("exp", "pull", "origin", "deeper").succeeded()
    second.dvc("exp", "apply", "deeper").succeeded()
    assert second.dvc("repro").succeeded().stages_run == []
    assert second.outputs() == experiment


@pytest.mark.slow
@pytest.mark.skipif(not runtime.has_avx2(), reason="other vector instructions round differently")
def test_a_fresh_clone_ends_with_every_committed_byte(clone):
    """The promise: whoever clones this project and runs it has the committed results."""
    done = clone.dvc("repro", "--force").succeeded()  # even what is committed and up to date
    assert done.stages_run == ["prepare", "bigram", "mlp", "transformer", "evaluate"]
    assert clone.git("status", "--porcelain") == ""
    assert clone.dvc("repro").succeeded().stages_run == []
