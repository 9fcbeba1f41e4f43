"""`lmladder compare --html`: the table as a page that stands alone."""

from lmladder.comparison import compare, find_runs, to_html
from tests.comparison.folders import write_run
from tests.reports.test_html import Page

import pytest


@pytest.fixture
def page(sweep):
    found = find_runs([sweep])
    return to_html(compare(found.runs, by="transformer.n_layer", notes=("a note",)))


def test_the_command_writes_the_page_beside_what_it_prints(sweep, command, tmp_path):
    path = tmp_path / "page.html"
    done = command(sweep, "--csv", "--html", path)
    assert done.stdout == command(sweep, "--csv").stdout
    assert path.read_text() == to_html(compare(find_runs([sweep]).runs))


def test_the_page_has_lines_intervals_ranks_runs_settings_notes_and_pictures(page, sweep):
    text = Page(page).text
    assert "9 runs compared" in text
    assert "The best is transformer transformer.n_layer=3: 0.5000 nats/token." in text
    for part in ("± 0.0100", "[+0.3", "To the best", "a note", "Scores over transformer.n_layer"):
        assert part in text
    for path in sweep.glob("*/*"):
        assert str(path) in text
    assert "transformer.d_model" in text
    assert "transformer.n_layer" not in text.partition("What they have in common")[2]
    assert page.count("<figcaption>") == 1


def test_without_a_setting_to_group_by_there_is_no_picture(sweep):
    assert "<figcaption>" not in to_html(compare(find_runs([sweep]).runs))


def test_every_element_is_closed_and_the_same_runs_give_the_same_bytes(page, sweep):
    assert Page(page).open == []
    assert to_html(compare(find_runs([sweep]).runs)) == to_html(compare(find_runs([sweep]).runs))


def test_a_comparison_of_one_run_has_a_page(tmp_path):
    write_run(tmp_path / "only", 0.5, blocks=False)
    text = Page(to_html(compare(find_runs([tmp_path]).runs))).text
    assert "1 run compared" in text
    assert "Notes" not in text


def test_settings_and_folders_do_not_become_markup(tmp_path, command):
    hostile = "<script>alert(1)<&script>"
    for seed, path in enumerate(("a", hostile)):
        write_run(tmp_path / hostile / str(seed), 0.5 + seed, blocks=False, data__path=path)
    done = command(tmp_path, "--html", tmp_path / "page.html")
    assert done.status == 0
    page = Page((tmp_path / "page.html").read_text())
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert page.open == []
    assert page.text.count(hostile) == 4  # a line's setting, its run's, two folders


def test_a_page_that_cannot_be_written_is_named(sweep, command, tmp_path):
    done = command(sweep, "--html", tmp_path / "none" / "page.html")
    assert done.status == 1
    assert str(tmp_path / "none" / "page.html") in done.stderr
