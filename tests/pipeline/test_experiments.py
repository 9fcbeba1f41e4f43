"""DVC's own views, experiments and remotes, on the pipeline with tiny settings."""

import json
import re
import shutil

import pytest

SCORES = "outputs/evaluate/metrics.json"


def told(checkout, *arguments):
    """What a command of DVC says as JSON."""
    return json.loads(checkout.dvc(*arguments).succeeded().stdout)


@pytest.fixture
def baseline(checkout, commit):
    """A checkout whose tiny settings are the default, and committed with their results."""
    conf = checkout / "conf/config.yaml"
    conf.write_text(conf.read_text().replace("experiment: null", "experiment: smoke"))
    commit(checkout)
    return checkout


@pytest.fixture
def deeper(baseline):
    """`baseline` and an experiment beside it, which is not in the work tree."""
    baseline.dvc("exp", "run", "--name", "deeper", "-S", "transformer.n_layer=2").succeeded()
    baseline.git("checkout", "--quiet", "HEAD", "--", ".")
    baseline.dvc("checkout", "--quiet").succeeded()
    return baseline


def test_the_plots_have_their_data_titles_and_axes(smoke):
    plots = told(smoke, "plots", "show", "--json")["data"]
    assert plots.keys() == {
        "losses",
        "surprise along the text",
        "outputs/mlp/history.csv",
        "outputs/transformer/history.csv",
    }
    for (plot,) in plots.values():
        content = json.dumps(plot["content"])
        assert re.search('"(tokens seen|first token of)', content)
        assert re.search('"nats', content)
        rows = plot["content"]["data"]["values"]
        assert rows
        drawn = {row.get("dvc_inferred_y_value", row.get("val_nats")) for row in rows}
        assert "" not in drawn  # which Vega would draw as 0


@pytest.mark.slow
def test_a_diff_tells_what_an_experiment_has_changed_and_nothing_else(deeper):
    params = told(deeper, "params", "diff", "HEAD", "deeper", "--json")
    assert params == {"params.yaml": {"transformer.n_layer": {"old": 1, "new": 2, "diff": 1}}}
    metrics = told(deeper, "metrics", "diff", "HEAD", "deeper", "--json")
    assert metrics.keys() == {SCORES, "outputs/transformer/metrics.json"}
    assert metrics[SCORES].keys() == {
        "val.expected_calibration_error.transformer",
        *(
            f"{split}.{score}.transformer"
            for split in ("val", "test")
            for score in ("bits_per_byte", "perplexity")
        ),
    }
    assert deeper.dvc("params", "diff").succeeded().stdout == ""
    assert set(told(deeper, "plots", "diff", "HEAD", "deeper", "--json")["data"]) >= {"losses"}


@pytest.mark.slow
def test_an_experiment_is_compared_applied_and_made_a_branch(deeper):
    done = deeper.lmladder("compare", "--rev", "HEAD", "--rev", "deeper", "--json")
    lines = json.loads(done.succeeded().stdout)["lines"]
    depths = [line["shown"] for line in lines if line["model"] == "transformer"]
    assert sorted(depths) == ["n_layer=1", "n_layer=2"]
    deeper.dvc("exp", "branch", "deeper", "two-layers").succeeded()
    deeper.dvc("exp", "apply", "deeper").succeeded()
    assert deeper.git("diff", "two-layers") == ""
    assert deeper.dvc("repro").succeeded().stages_run == []


@pytest.mark.slow
def test_a_second_clone_pulls_everything_and_trains_nothing(baseline, commit, tmp_path):
    shared = tmp_path / "shared.git"
    # As a path from .dvc/config, so that it is the same folder for a clone beside this one.
    baseline.dvc("remote", "add", "--default", "storage", "../storage").succeeded()
    commit(baseline)
    baseline.dvc("exp", "run", "--name", "deeper", "-S", "transformer.n_layer=2").succeeded()
    experiment = baseline.outputs()
    baseline.git("checkout", "--quiet", "HEAD", "--", ".")
    baseline.dvc("checkout", "--quiet").succeeded()
    baseline.git("init", "--quiet", "--bare", "--initial-branch", "main", shared)
    baseline.git("push", "--quiet", shared, "HEAD:refs/heads/main")
    baseline.dvc("push").succeeded()
    baseline.git("remote", "add", "shared", shared)
    baseline.dvc("exp", "push", "shared", "deeper").succeeded()
    expected = baseline.outputs()
    shutil.rmtree(baseline / ".dvc/cache")

    baseline.git("clone", "--quiet", shared, tmp_path / "second")
    second = type(baseline)(tmp_path / "second")
    assert not (second / "outputs/transformer/checkpoint.safetensors").exists()
    done = second.dvc("repro", "--pull").succeeded()
    assert done.stages_run == []
    assert second.outputs() == expected
    assert second.git("status", "--porcelain") == ""
    assert not list(second.path.rglob("performance.json"))  # which every stage that runs writes

    second.dvc("exp", "pull", "origin", "deeper").succeeded()
    second.dvc("exp", "apply", "deeper").succeeded()
    assert second.dvc("repro").succeeded().stages_run == []
    assert second.outputs() == experiment
