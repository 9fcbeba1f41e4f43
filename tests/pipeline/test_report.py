"""`lmladder report`: the page anew, with the machine, and with what has changed."""

import json
import re
import shutil

from tests.reports.test_html import Page

import pytest


@pytest.fixture
def other(smoke, tmp_path):
    """A copy of what git has of a run, whose Transformer was another, and the environment."""
    path = tmp_path / "other"
    shutil.copytree(
        smoke / "outputs", path / "outputs", ignore=shutil.ignore_patterns("*.safetensors", "*.npy")
    )
    lock = (smoke / "dvc.lock").read_text()
    (path / "dvc.lock").write_text(lock.replace("d_model: 16", "d_model: 48"))
    _shift(path / "outputs/evaluate/perplexity.csv")
    return path / "outputs"


def _shift(path):
    """Make the Transformer's scores worse by 1 % in perplexity.csv."""
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for line in lines:
        if line[0] == "transformer":
            line[4:7] = [f"{float(cell) * 1.01:.6f}" for cell in line[4:7]]
    path.write_text("".join(",".join(line) + "\n" for line in lines))


@pytest.fixture
def page(lmladder, tmp_path):
    """The text of the page that the command writes with these options."""

    def write(*options):
        path = tmp_path / "page.html"
        lmladder("report", *options, "-o", path).succeeded()
        return path.read_text()

    return write


def section(page, heading):
    """The markup between a heading and the end of its section."""
    return page.partition(f"<h2>{heading}</h2>")[2].partition("</section>")[0]


def test_the_page_has_all_that_the_committed_one_has(smoke, page):
    committed = (smoke / "outputs/evaluate/report.html").read_text()
    made = page()
    headings = re.findall("<h2>(.*)</h2>", committed)
    assert len(headings) == 7
    for heading in headings[:-1]:
        assert section(committed, heading).rstrip() in section(made, heading)
    assert "transformer.d_model=16" in section(made, headings[-1])


def test_the_committed_page_tells_nothing_of_the_machine_and_this_one_does(smoke, page):
    facts = json.loads((smoke / "outputs/evaluate/environment.json").read_text())
    seconds = json.loads((smoke / "outputs/mlp/performance.json").read_text())["seconds"]
    made = section(page(), "Where it was made")
    for fact in (facts["platform"], facts["packages"]["numpy"], f"{seconds:,}"):
        assert fact in made
    assert facts["platform"] not in (smoke / "outputs/evaluate/report.html").read_text()


def test_facts_in_which_stages_differ_name_the_stage(checkout, lmladder, tmp_path):
    path = checkout / "outputs/mlp/environment.json"
    path.write_text(path.read_text().replace('"CPython', '"PyPy'))
    (checkout / "outputs/prepare/performance.json").write_text("[")
    (checkout / "outputs/bigram/performance.json").write_text('{"seconds": "soon"}')
    lmladder("report", checkout / "outputs", "-o", tmp_path / "page.html").succeeded()
    text = Page((tmp_path / "page.html").read_text()).text
    assert "python (mlp)PyPy" in text
    assert "python (evaluate)CPython" in text


def test_against_itself_nothing_has_changed(page):
    text = Page(section(page("--against", "outputs"), "What has changed")).text
    assert "Settings: nothing has changed" in text
    assert "Machine and versions: nothing has changed" in text
    assert text.count("The same: Uniform, ") == 2
    assert "Difference" not in text


def test_what_has_changed_is_told(page, other):
    part = section(page("--against", other), "What has changed")
    text = Page(part).text
    assert re.findall(r'<th scope="row" class="words">([^<]*)<', part) == [
        "Transformer", "Transformer", "transformer.d_model",
    ]  # fmt: skip
    assert "transformer.d_model4816" in "".join(text.split())  # before, now
    assert len(re.findall(r"-0\.\d{4}", text)) == 2  # no interval, as such a text has few blocks


def test_another_machine_is_told_and_an_unknown_one_too(page, other):
    path = other / "mlp/environment.json"
    path.write_text(path.read_text().replace('"CPython', '"PyPy'))
    assert "python (mlp)" in page("--against", other)
    for stage in ("prepare", "bigram", "mlp", "transformer", "evaluate"):
        (other / stage / "environment.json").unlink()
    assert "versions: those of one run are unknown" in page("--against", other)


def test_a_run_without_a_lock_file_has_unknown_settings(page, other):
    (other.parent / "dvc.lock").unlink()
    assert "Settings: those of the other run are unknown" in page("--against", other)


def test_the_same_results_give_the_same_bytes(page, other):
    assert page("--against", other) == page("--against", other)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda outputs: shutil.rmtree(outputs / "evaluate"), "perplexity.csv"),
        (lambda outputs: (outputs / "prepare/val.npy").unlink(), "val.npy is missing"),
        (lambda outputs: (outputs / "mlp/checkpoint.safetensors").unlink(), "mlp/checkpoint"),
        (lambda outputs: (outputs / "mlp/history.csv").write_bytes(b"\xff"), "history.csv"),
        (lambda outputs: (outputs.parent / "dvc.lock").write_text("stages: ["), "settings of"),
    ],
    ids=["no results", "no text", "no checkpoint", "no history", "no lock file"],
)
def test_what_is_missing_or_damaged_is_named(checkout, lmladder, tmp_path, damage, named):
    damage(checkout / "outputs")
    done = lmladder("report", checkout / "outputs", "-o", tmp_path / "page.html")
    done.failed_in_one_line(2, named)
    assert not (tmp_path / "page.html").exists()


def test_a_checkpoint_of_another_text_is_refused(checkout, lmladder, tmp_path):
    checkout.compose("data.seed=1")
    checkout.stage("prepare").succeeded()
    done = lmladder("report", checkout / "outputs", "-o", tmp_path / "page.html")
    done.failed_in_one_line(2, "bigram/checkpoint.safetensors", "was not trained on")


def test_a_folder_that_is_none_is_named(lmladder, tmp_path):
    for options in ((tmp_path / "none",), ("--against", tmp_path / "none")):
        done = lmladder("report", *options, "-o", tmp_path / "page.html")
        done.failed_in_one_line(2, tmp_path / "none")
