"""`lmladder compare` as people and programs read it: text, tables, pages and figures."""

import csv
import json

from tests.experiments.folders import write_ladder, write_run
from tests.reports.figures.reading import texts
from tests.reports.test_html import Page

import pytest

BY = ("--by", "transformer.n_layer")


def test_without_a_terminal_the_table_is_plain_text_without_empty_columns(sweep, command, tmp_path):
    done = command(sweep)
    assert (done.status, done.stderr) == (0, "")
    heading, titles, *lines = done.stdout.splitlines()
    assert heading.startswith("Nats per token of validation sequences")
    assert titles.split()[:4] == ["Model", "Settings", "Rank", "Runs"]
    assert [line.split()[1] for line in lines] == [f"n_layer={n_layer}" for n_layer in (3, 2, 1)]
    assert "\x1b" not in done.stdout
    titles = command(sweep, "--against", "transformer.n_layer=2").stdout.splitlines()[1]
    assert titles.split()[:4] == ["Model", "Settings", "p", "Runs"]
    assert titles.endswith("To transformer.n_layer=2")
    write_ladder(tmp_path / "ladder", {"transformer": 0.5, "trigram": 0.6, "bigram": 0.9})
    done = command(tmp_path / "ladder")
    assert done.stdout.splitlines()[1].startswith("Model       Runs ")
    assert "note: as the lowest score has no interval" in done.stderr


def test_every_format_has_the_values_and_notes_go_to_standard_error(sweep, command):
    (sweep / "transformer.n_layer=1/seed=0/scores.json").write_text("{")
    first, *_, last = csv.DictReader(command(sweep, "--format", "csv", *BY).stdout.splitlines())
    assert (first["model"], first["settings.transformer.n_layer"]) == ("transformer", "1")
    assert first["seeds"] == "[1, 2]"
    assert float(first["low"]) < float(first["difference"]) < float(first["high"])
    assert (last["rank"], last["difference"], last["low"]) == ("", "", "")
    done = command(sweep, "--json", *BY)
    made = json.loads(done.stdout)
    assert (made["metric"], made["by"]) == ("val_loss", "transformer.n_layer")
    first = made["configurations"][0]
    assert first["seeds"] == [1, 2]
    assert first["settings"]["transformer.n_layer"] == first["group"] == 1
    assert first["folders"][0].endswith("seed=1")
    assert done.stderr.splitlines() == [f"note: {made['notes'][0]}"]


def test_the_page_and_the_figure_state_what_the_intervals_show_and_escape_text(
    sweep, command, tmp_path
):
    caption = (
        "transformer n_layer=3 has the lowest score, 0.5000 nats per token of validation "
        "sequences, but these may be as low: transformer n_layer=2."
    )
    command(sweep, "-o", tmp_path / "page.html").succeeded()
    assert caption in Page((tmp_path / "page.html").read_text()).text
    command(sweep, *BY, "-o", tmp_path / "a.svg").succeeded()
    svg = (tmp_path / "a.svg").read_text()
    assert caption.replace(" n_layer", " transformer.n_layer") in svg
    assert {"1", "2", "3", "transformer.n_layer"} <= set(texts(svg))
    hostile = "<script>alert(1)<&script>|"
    for seed, path in enumerate(("a", hostile)):
        write_run(tmp_path / hostile / str(seed), 0.5 + seed, data__path=path)
    done = command(tmp_path / hostile, "--format", "markdown", "-o", tmp_path / "page.html")
    assert "data.path=&lt;script&gt;alert(1)&lt;&amp;script&gt;\\|" in done.stdout
    page = Page((tmp_path / "page.html").read_text())
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert page.open == []
    assert page.text.count(hostile) == 3  # a configuration's setting, its run's, their folder


@pytest.mark.parametrize(
    ("nats", "ending"),
    [
        ({"trigram": 0.6, "bigram": 0.9}, "; all others are significantly higher."),
        ({"trigram": 0.6, "bigram": 0.6001}, ", but these may be as low: bigram."),
        ({"mlp": 0.5, "trigram": 0.6, "bigram": 0.9}, "; whether the others are higher by chance "
         "cannot be judged."),
    ],
)  # fmt: skip
def test_the_finding_is_what_the_intervals_show(tmp_path, command, nats, ending):
    write_ladder(tmp_path / "ladder", nats)
    command(tmp_path / "ladder", "-o", tmp_path / "page.html").succeeded()
    start = f"{next(iter(nats))} has the lowest score, "
    assert start in (text := Page((tmp_path / "page.html").read_text()).text)
    assert ending in text
