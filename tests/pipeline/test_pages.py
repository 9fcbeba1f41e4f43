"""`lmladder plot` and `report`: the figures and the page of a ladder that has run."""

import json
import re
import shutil

from tests.reports.test_html import Page

import pytest

RESULTS = ("loss_curves", "perplexity_parameters", "position", "calibration")
OF_TRUTH = ("excess", "recall", "true_calibration")  # in the page only


@pytest.fixture
def outputs(smoke, tmp_path):
    """A copy of the small files under outputs/ that the test may change."""
    heavy = shutil.ignore_patterns("*.safetensors", "*.npy")
    return shutil.copytree(smoke / "outputs", tmp_path / "outputs", ignore=heavy)


def section(page, heading):
    """The markup between a heading and the end of its section."""
    return page.partition(f"<h2>{heading}</h2>")[2].partition("</section>")[0]


def test_the_figures_are_those_of_the_pipeline_and_one_of_time(smoke, lmladder, outputs, tmp_path):
    done = lmladder("plot", outputs, "-o", tmp_path / "new" / "figures").succeeded()
    made = {path.stem: path for path in (tmp_path / "new/figures").iterdir()}
    assert set(made) == {*RESULTS, *OF_TRUTH, "perplexity_time"}
    for name in RESULTS:
        assert made[name].read_bytes() == (smoke / f"outputs/evaluate/{name}.svg").read_bytes()
    assert all(str(path) in done.stdout for path in made.values())


def test_png_is_a_format_too_and_where_no_stage_has_run_there_is_no_time(
    lmladder, outputs, tmp_path
):
    for path in outputs.rglob("machine.json"):
        path.unlink()
    done = lmladder("plot", outputs, "-o", tmp_path / "p", "--format", "png").succeeded()
    assert done.stderr.startswith("note: no figure of training time")
    drawn = {path.name for path in (tmp_path / "p").iterdir()}
    assert drawn == {f"{name}.png" for name in (*RESULTS, *OF_TRUTH)}
    (outputs / "evaluate/excess.csv").unlink()  # as in results of an earlier version
    lmladder("plot", outputs, "-o", tmp_path / "old").succeeded()
    assert {path.stem for path in (tmp_path / "old").iterdir()} == {*RESULTS}


@pytest.mark.parametrize("missing", ["perplexity.csv", "history.csv"])
def test_what_is_missing_is_named_and_nothing_is_drawn(lmladder, outputs, tmp_path, missing):
    for path in outputs.rglob(missing):
        path.unlink()
    lmladder("plot", outputs, "-o", tmp_path / "p").failed_in_one_line(2, missing)
    assert not (tmp_path / "p").exists()


def test_the_page_has_all_that_the_pipelines_has_and_the_machine(smoke, checkout, lmladder):
    damaged = checkout / "outputs/mlp/machine.json"  # one stage ran elsewhere
    damaged.write_text(damaged.read_text().replace('"CPython', '"PyPy'))
    (checkout / "outputs/prepare/machine.json").write_text("[")
    (checkout / "outputs/bigram/machine.json").write_text('{"seconds": "soon"}')
    pipelines = (smoke / "outputs/evaluate/report.html").read_text()
    kept = checkout / "results/tiny/seed0"
    shutil.copytree(checkout / "outputs/evaluate", kept / "outputs/evaluate")
    shutil.copy(checkout / "dvc.lock", kept)
    options = ("-o", checkout / "page.html", "--results", checkout / "results")
    lmladder("report", checkout / "outputs", *options).succeeded()
    made = (checkout / "page.html").read_text()
    assert "tiny: nats per token" in section(made, "Over seeds")
    assert "Trained on 80%: test, on crops" in section(made, "Over seeds")
    headings = re.findall("<h2>(.*)</h2>", pipelines)
    assert len(headings) == 7
    for heading in headings[:-1]:
        # The new page has one more figure, of time.
        assert section(pipelines, heading).rstrip().removesuffix("</div>") in section(made, heading)
    assert "transformer.d_model=16" in section(made, headings[-1])
    facts = json.loads((smoke / "outputs/evaluate/machine.json").read_text())["environment"]
    seconds = json.loads((smoke / "outputs/mlp/machine.json").read_text())["seconds"]
    for fact in (facts["platform"], facts["packages"]["numpy"], f"{seconds:,}"):
        assert fact in section(made, "Machine and times")
    assert facts["platform"] not in pipelines
    assert "python (mlp)PyPy" in Page(made).text
    assert "python (evaluate)CPython" in Page(made).text


@pytest.mark.parametrize(
    ("damaged", "content", "named"),
    [
        ("outputs/evaluate/perplexity.csv", None, "perplexity.csv"),
        ("outputs/mlp/checkpoint.safetensors", None, "mlp/checkpoint"),
        ("outputs/mlp/history.csv", b"\xff", "history.csv"),
        ("dvc.lock", b"stages: [", "settings of"),
    ],
)
def test_what_a_page_lacks_is_named(checkout, lmladder, damaged, content, named):
    (checkout / damaged).unlink()
    if content is not None:
        (checkout / damaged).write_bytes(content)
    done = lmladder("report", checkout / "outputs", "-o", checkout / "page.html")
    done.failed_in_one_line(2, named)
    assert not (checkout / "page.html").exists()


def test_a_page_of_checkpoints_of_another_text_is_rejected(checkout, lmladder):
    checkout.compose("data.seed=1")
    checkout.stage("prepare").succeeded()
    done = lmladder("report", checkout / "outputs", "-o", checkout / "page.html")
    done.failed_in_one_line(2, "bigram/checkpoint.safetensors", "was not trained on")
