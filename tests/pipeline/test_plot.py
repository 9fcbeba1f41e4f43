"""`lmladder plot`: the pictures of a ladder that has run."""

import csv
import json
import shutil

import pytest

RESULTS = ("loss_curves", "perplexity_parameters", "perplexity_tokens", "position", "calibration")
EVALUATED = "outputs/evaluate"


@pytest.fixture
def outputs(smoke, tmp_path):
    """A copy of the small files under outputs/ that the test may change."""
    heavy = shutil.ignore_patterns("*.safetensors", "*.npy")
    return shutil.copytree(smoke / "outputs", tmp_path / "outputs", ignore=heavy)


def test_the_pictures_are_those_of_the_pipeline_and_one_of_time(smoke, lmladder, outputs, tmp_path):
    done = lmladder("plot", outputs, "-o", tmp_path / "new" / "pictures").succeeded()
    made = {path.stem: path for path in (tmp_path / "new/pictures").iterdir()}
    assert set(made) == {*RESULTS, "perplexity_time"}
    for name in RESULTS:
        assert made[name].read_bytes() == (smoke / EVALUATED / f"{name}.svg").read_bytes()
    assert len(done.stdout.splitlines()) == 6
    assert all(str(path) in done.stdout for path in made.values())


def test_png_is_a_format_too(lmladder, outputs, tmp_path):
    lmladder("plot", outputs, "-o", tmp_path, "--format", "png").succeeded()
    made = list(tmp_path.glob("*.png"))
    assert len(made) == 6
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)


def test_where_no_stage_has_run_there_is_no_picture_of_time(lmladder, outputs, tmp_path):
    for path in outputs.rglob("performance.json"):
        path.unlink()
    (outputs / "mlp/performance.json").write_text('{"seconds": "soon"}')
    done = lmladder("plot", outputs, "-o", tmp_path / "p").succeeded()
    assert done.stderr.startswith("note: no picture of time")
    assert not (tmp_path / "p/perplexity_time.svg").exists()


def test_the_numbers_behind_them_are_those_of_the_table(smoke):
    with open(smoke / EVALUATED / "position.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["first"], rows[-1]["last"]) == ("1", "32")
    assert {"bigram", "kneser_ney_3", "mlp", "transformer"} <= set(rows[0])
    assert "uniform" not in rows[0]
    metrics = json.loads((smoke / EVALUATED / "metrics.json").read_text())["val"]
    errors = metrics["expected_calibration_error"]
    assert set(errors) == set(metrics["perplexity"]) - {"uniform", "oracle"}
    assert all(0 <= error <= 1 for error in errors.values())


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("evaluate/perplexity.csv", "perplexity.csv"),
        ("evaluate/position.csv", "position.csv"),
        ("evaluate/calibration.csv", "calibration.csv"),
        ("transformer/history.csv", "history.csv"),
        ("prepare/corpus.json", "corpus.json"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(
    lmladder, outputs, tmp_path, missing, named
):
    (outputs / missing).unlink()
    lmladder("plot", outputs, "-o", tmp_path / "p").failed_in_one_line(2, named)
    assert not (tmp_path / "p").exists()


def test_what_cannot_be_is_refused_in_one_line(lmladder, outputs, tmp_path):
    lmladder("plot", outputs, "--format", "pdf").failed_in_one_line(2, "'pdf'", "svg, png")
    (tmp_path / "file").touch()
    lmladder("plot", outputs, "-o", tmp_path / "file").failed_in_one_line(1, tmp_path / "file")
    lmladder("plot", tmp_path / "nowhere").failed_in_one_line(2, "perplexity.csv")
