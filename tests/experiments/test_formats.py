"""`lmladder compare` as people and programs read it: text, tables, pages and figures."""

import json

from tests.experiments.folders import write_run
from tests.reports.figures.reading import texts
from tests.reports.test_html import Page

import pytest

BY = ("--by", "transformer.n_layer")


def test_without_a_terminal_the_table_is_plain_text(sweep, command):
    done = command(sweep)
    assert (done.status, done.stderr) == (0, "")
    heading, titles, *lines = done.stdout.splitlines()
    assert heading.startswith("Nats per token of validation sequences")
    assert titles.split()[:4] == ["Model", "Settings", "Rank", "Runs"]
    assert [line.split()[1] for line in lines] == [f"n_layer={n_layer}" for n_layer in (3, 2, 1)]
    assert "\x1b" not in done.stdout
    done = command(sweep, *BY, "--power", "0.1", "-o", sweep / "page.html")
    assert done.stdout.splitlines()[-1].startswith("a difference of 0.1 needs ")
    page = Page((sweep / "page.html").read_text())
    for part in ("± 0.0100", "[+0.3", "a difference of 0.1 needs "):
        assert part in page.text


def test_csv_has_one_row_per_configuration(sweep, command):
    titles = "transformer.n_layer,model,settings,rank,runs,val_loss,standard_deviation"
    head, first, *_, last = command(sweep, "--format", "csv", *BY).stdout.splitlines()
    assert head == f"{titles},difference,low,high"
    assert first.startswith("1,transformer,,3,3,0.900000,0.010000,0.400000,")
    assert last == "3,transformer,,,3,0.500000,0.010000,,,"


def test_against_a_base_there_are_p_values_instead_of_ranks(sweep, command):
    against = "--against", "transformer.n_layer=2"
    titles, first, *_ = command(sweep, *against).stdout.splitlines()[1:]
    assert titles.split()[:4] == ["Model", "Settings", "p", "Runs"]
    assert titles.endswith("To transformer.n_layer=2")
    assert " 0.9" in first
    head = command(sweep, *against, "--format", "csv").stdout.splitlines()[0]
    assert head.endswith("difference,low,high,p")
    assert "names" not in json.loads(command(sweep, *against, "--json").stdout)["configurations"][0]


def test_json_has_seeds_folders_notes_and_power(sweep, command):
    (sweep / "transformer.n_layer=1/seed=0/metrics.json").unlink()
    done = command(sweep, "--json", *BY, "--power", 0.1)
    made = json.loads(done.stdout)
    assert (made["metric"], made["by"]) == ("val_loss", "transformer.n_layer")
    first = made["configurations"][0]
    assert first["seeds"] == [1, 2]
    assert first["settings"]["transformer.n_layer"] == first["group"] == 1
    assert first["folders"][0].endswith("seed=1")
    assert first["low"] < first["difference"] == pytest.approx(0.4)
    assert made["power"]["difference"] == 0.1
    assert made["power"]["seeds"] > 1
    assert done.stderr.splitlines() == [made["power"]["answer"], f"note: {made['notes'][0]}"]


def test_markdown_and_latex_escape_settings(tmp_path, command):
    write_run(tmp_path / "a", 0.5, data__path="a|b_{c}\\d")
    write_run(tmp_path / "b", 0.6, data__path="[x] & 5%", blocks=False)
    markdown = command(tmp_path, "--format", "markdown").stdout.splitlines()
    assert "data.path=a\\|b_{c}\\d" in markdown[4]
    latex = command(tmp_path, "--format", "latex").stdout
    assert r"data.path=a|b\_\{c\}\textbackslash d" in latex
    assert r"data.path=[x] \& 5\%" in latex
    latex = command(tmp_path, "--format", "latex", "--by", "data.path").stdout
    assert "\n" + r"{[}x] \& 5\% & transformer &" in latex  # else it is an argument of \midrule


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-o", "x.svg"], "--by"),
        ([*BY, "-o", "x.pdf"], ".svg or .png"),
    ],
)
def test_a_mistake_is_named_in_one_line_before_the_table(sweep, command, arguments, named):
    done = command(sweep, *arguments)
    done.failed_in_one_line(2, named)
    assert done.stdout == ""


# --- Pages ----------------------------------------------------------------------------------------


def test_the_page_is_written_beside_what_is_printed_and_escapes_all_text(tmp_path, command):
    hostile = "<script>alert(1)<&script>"
    for seed, path in enumerate(("a", hostile)):
        write_run(tmp_path / hostile / str(seed), 0.5 + seed, data__path=path)
    done = command(tmp_path, "--format", "csv", "-o", tmp_path / "page.html")
    assert done.stdout == command(tmp_path, "--format", "csv").stdout
    page = Page((tmp_path / "page.html").read_text())
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert page.open == []
    assert page.text.count(hostile) == 4  # a configuration's setting, its run's, two folders
    done = command(tmp_path, "-o", tmp_path / "none/page.html")
    assert (done.status, "none/page.html" in done.stderr) == (1, True)


# --- Figures --------------------------------------------------------------------------------------


def test_the_figure_shows_each_value_with_its_mean_and_escapes_text(command, tmp_path):
    for norm, nats in (("layernorm", 0.7), ("</svg>", 0.8)):
        for seed in range(2):
            how = {"transformer__norm": norm, "seed": seed}
            write_run(tmp_path / f"runs/{nats}/{seed}", nats, **how)
    command(tmp_path / "runs", "--by", "transformer.norm", "-o", tmp_path / "a.svg")
    found = texts((tmp_path / "a.svg").read_text())
    assert {"layernorm", "</svg>", "transformer.norm"} <= set(found)
    assert any("2 seeds" in text for text in found)
