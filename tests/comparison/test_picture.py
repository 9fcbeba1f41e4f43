"""`lmladder compare --figure`: a sweep as a picture."""

import xml.etree.ElementTree as ElementTree

from tests.comparison.folders import write_run
from tests.reports.figures.reading import texts

import pytest

BY = ("--by", "transformer.n_layer")


def test_the_picture_shows_each_value_with_its_mean(command, sweep, tmp_path):
    path = tmp_path / "sweep.svg"
    done = command(sweep, *BY, "--figure", path)
    assert done.status == 0
    assert "0.5000 ± 0.0100" in done.stdout  # the table is printed as ever
    shown = texts(path.read_text())
    assert {"1", "2", "3", "transformer.n_layer", "Transformer 0.500"} <= set(shown)
    assert "Nats per token of validation rows against transformer.n_layer" in shown
    assert any("3 seeds" in text for text in shown)


def test_the_same_sweep_gives_the_same_bytes(command, sweep, tmp_path):
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        assert command(sweep, *BY, "--figure", tmp_path / name).status == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_other_settings_that_differ_make_a_curve_each(command, sweep, tmp_path):
    for n_layer, nats in ((1, 0.7), (2, 0.6)):
        folder = sweep / f"wide/{n_layer}"
        write_run(folder, nats, transformer__n_layer=n_layer, transformer__d_model=512)
    command(sweep, *BY, "--figure", tmp_path / "sweep.svg")
    shown = texts((tmp_path / "sweep.svg").read_text())
    assert {"d_model=128 0.500", "d_model=512 0.600"} <= set(shown)


def test_settings_that_are_no_numbers_have_a_place_each(command, tmp_path):
    for norm, nats in (("layernorm", 0.7), ("none", 0.9), ("</svg>", 0.8)):
        write_run(tmp_path / f"runs/{nats}", nats, transformer__norm=norm)
    path = tmp_path / "sweep.svg"
    command(tmp_path / "runs", "--by", "transformer.norm", "--figure", path)
    assert {"layernorm", "none", "</svg>"} <= set(texts(path.read_text()))
    ElementTree.parse(path)


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--figure", "x.svg"), "--by"), ((*BY, "--figure", "x.pdf"), ".svg or .png")],
)
def test_what_cannot_be_drawn_is_refused_before_the_table(command, sweep, options, named):
    done = command(sweep, *options)
    assert done.status == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
