"""Configurations and their differences, from folders as the stages write them."""

import json
import math
import os

from lmladder.evaluation import read_record
from lmladder.experiments import compare, find_runs
from lmladder.reports.comparison import FORMATS, print_comparison
from lmladder.reports.comparison_page import to_html
from lmladder.system.errors import InputError
from tests.experiments.folders import (
    BLOCKS,
    TOKENS,
    write_ladder,
    write_record,
    write_run,
)

import pytest


def table(*paths, **how):
    found = find_runs(paths)
    return compare(found.runs, notes=found.notes, **how)


def shown(made):
    return [each.shown for each in made.configurations]


def ranks(made):
    return [each.rank for each in made.configurations]


def models(made):
    return [each.model for each in made.configurations]


def test_a_configuration_is_the_mean_of_its_seeds(sweep):
    made = table(sweep)
    assert shown(made) == ["n_layer=3", "n_layer=2", "n_layer=1"]
    for each, mean in zip(made.configurations, (0.5, 0.5005, 0.9), strict=True):
        assert [run.seed for run in each.runs] == [0, 1, 2]
        assert each.score == pytest.approx(mean)
        assert each.standard_deviation == pytest.approx(0.01)
    assert made.notes == ()
    again = table(sweep, sweep / "transformer.n_layer=1", sweep)  # a run counts once
    assert [len(each.runs) for each in again.configurations] == [3, 3, 3]


def test_an_unknown_setting_metric_or_folder_is_an_input_error(sweep, tmp_path):
    with pytest.raises(InputError, match=r"'n_layers'.*transformer\.n_layer"):
        table(sweep, by="n_layers")
    with pytest.raises(InputError, match="no run has a metric 'perplexity'; choose from val_loss"):
        table(sweep, metric="perplexity")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    reasons = {"empty": "no finished run in", "none": "does not exist", "file": "is not a folder"}
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=reason):
            find_runs([tmp_path / name])


def test_only_settings_and_texts_that_affect_a_score_divide_configurations(tmp_path):
    write_run(tmp_path / "a", 0.5)
    for seed, key in enumerate(("runtime__threads", "sample__tokens", "mlp__activation"), 1):
        write_run(tmp_path / key, 0.6, seed=seed, **{key: 7})
    assert len(table(tmp_path).configurations) == 1
    write_run(tmp_path / "other", 0.7, data="1" * 64)
    assert {"data.digest=0000000000000000", "data.digest=1111111111111111"} == {
        *shown(table(tmp_path))
    }
    write_run(tmp_path / "kernels", 0.8, runtime__kernels="numpy")
    assert len(table(tmp_path).configurations) == 3


def test_mixtures_of_differently_trained_members_are_different_configurations(tmp_path):
    (model,) = read_record(write_ladder(tmp_path / "first", {"both": 2.0})).models
    mixture = model.model_copy(update={"kind": "mixture", "rung": "mixtures/both"})
    for name, layers in (("first", 2), ("second", 3), ("third", 3)):
        write_record(tmp_path / name, [mixture], transformer__n_layer=layers)
    assert len(table(tmp_path).configurations) == 2


def test_the_same_run_with_another_score_is_named(tmp_path):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.6)
    made = table(tmp_path)
    assert [each.score for each in made.configurations] == [0.5]
    (note,) = made.notes
    assert "0.500000, not 0.600000" in note


# --- Differences and ranks ------------------------------------------------------------------------


def test_a_difference_that_is_the_same_for_all_seeds_is_found_only_if_they_are_the_same(tmp_path):
    for name, other in (("same", 0), ("different", 5)):
        for n_layer, mean in ((1, 0.51), (2, 0.5)):
            for seed, shift in enumerate((-0.02, 0.0, 0.02)):
                how = {"transformer__n_layer": n_layer, "seed": seed + other * n_layer}
                write_run(tmp_path / name / f"{n_layer}/{seed}", mean + shift, **how)
    assert ranks(table(tmp_path / "same")) == [1, 2]
    assert ranks(table(tmp_path / "different")) == [None, None]


def test_a_rank_is_one_more_than_the_number_of_significantly_better_configurations(sweep):
    """Of 0.5, 0.5005, 0.7, 0.7005 and 0.9 the first two and the second two are as good."""
    for n_layer, mean in ((4, 0.7), (5, 0.7005)):
        for seed in range(3):
            how = {"transformer__n_layer": n_layer, "seed": seed}
            shift = 0.01 * ((seed + n_layer) % 3 - 1)
            write_run(sweep / f"{n_layer}/{seed}", mean + shift, **how)
    made = table(sweep)
    assert ranks(made) == [None, None, 3, 3, 5]
    best, *others = made.configurations
    assert best.difference is best.low is best.high is None
    for each in others:
        assert each.difference == pytest.approx(each.score - 0.5)
        assert each.low < each.difference < each.high
        assert (each.low > 0) == (each.rank is not None)
    assert ranks(table(sweep / "transformer.n_layer=1", sweep / "transformer.n_layer=3")) == [1, 2]


def test_scores_and_intervals_of_a_ladder_are_in_the_units_of_the_metric(tmp_path):
    write_ladder(tmp_path, {"trigram": 1.0, "bigram": 1.2, "oracle": 0.1}, n_bytes=40_000)
    bits = BLOCKS * TOKENS / 40_000 / math.log(2)
    units, lengths = {"nats_per_token": 1, "bits_per_byte": bits, "perplexity": math.e}, {}
    for metric, unit in units.items():
        made = table(tmp_path, metric=metric)
        assert models(made) == ["trigram", "bigram"]  # the oracle is not a model
        best, worse = made.configurations
        assert best.score == pytest.approx(unit, abs=1e-5)
        lengths[metric] = worse.high - worse.low
    assert lengths["bits_per_byte"] == pytest.approx(lengths["nats_per_token"] * bits, rel=1e-4)
    assert lengths["perplexity"] > lengths["nats_per_token"] * math.e


def test_a_base_has_p_values_and_only_configurations_of_its_model(sweep):
    write_ladder(sweep / "ladder", {"trigram": 0.1})
    made = table(sweep, metric="val_loss", against="transformer.n_layer=2")
    better, base, worse = made.configurations
    assert base.p is base.low is base.difference is None
    assert 0.05 < better.p <= 1
    assert worse.p < 0.01
    assert worse.difference == pytest.approx(0.3995)
    assert 0 < worse.low < worse.difference < worse.high
    assert ranks(made) == [None, None, None]


def test_a_base_that_is_not_one_configuration_is_an_input_error(sweep):
    for against, found in (("n_layer=4", "no configuration"), ("n_head=2", "3 configurations")):
        with pytest.raises(InputError, match=f"{against}' is the name of {found}"):
            table(sweep, against=f"transformer.{against}")


def test_an_override_names_a_base_and_is_shown(tmp_path):
    for recipe, n_layer in (("base", 1), ("deep", 2)):
        for seed in range(2):
            how = {"overrides": [f"+recipe={recipe}"], "transformer__n_layer": n_layer}
            write_run(tmp_path / f"{recipe}{seed}", n_layer + seed / 10, seed=seed, **how)
    assert shown(table(tmp_path, against="recipe=base")) == ["recipe=base", "recipe=deep"]


def test_without_an_interval_of_the_lowest_score_there_are_no_ranks(tmp_path):
    nats = {"trigram": 0.6, "bigram": 0.9, "uniform": 4.0}
    write_ladder(tmp_path / "counted", nats)
    assert ranks(table(tmp_path / "counted")) == [1, 2, 3]  # one seed of a count model is enough
    write_ladder(tmp_path / "ladder", {"transformer": 0.5, **nats})
    made = table(tmp_path / "ladder")
    assert models(made) == ["transformer", *nats]
    assert ranks(made) == [None] * 4
    notes = " ".join(made.notes)
    assert "1 configuration without an interval and a rank: one seed" in notes
    assert "there are no ranks, and differences are to trigram" in notes


UNEQUAL = {  # of two runs
    "no scores of the same blocks": ({}, {"losses": False}),
    "other data": ({}, {"data": "1" * 64}),
    "other parts of the text": ({}, {"blocks": 64}),
    "the text has fewer than 20 blocks": ({"blocks": 19}, {"blocks": 19}),
}


@pytest.mark.parametrize("reason", UNEQUAL)
def test_without_enough_common_blocks_there_is_no_interval_and_a_note_has_the_reason(
    tmp_path, reason
):
    first, second = UNEQUAL[reason]
    write_run(tmp_path / "a", 0.5, **first)
    write_run(tmp_path / "b", 0.6, transformer__n_layer=9, **second)
    made = table(tmp_path)
    assert [each.score for each in made.configurations] == [0.5, 0.6]
    other = made.configurations[1]
    assert other.low is other.high is other.rank is None
    assert reason in " ".join(made.notes)


# --- What counts as a run -------------------------------------------------------------------------


def test_scores_of_sequences_and_of_whole_texts_are_not_mixed(sweep, tmp_path):
    write_ladder(tmp_path / "outputs/evaluate", {"transformer": 1.0, "mlp": 1.1})
    write_run(tmp_path / "outputs/transformer", 1.5)
    made = table(sweep, tmp_path / "outputs")
    assert models(made) == ["transformer", "mlp"]
    # The rung beside the ladder that scored it is not missing.
    assert made.notes[0] == "left out: 9 runs without bits_per_byte, which have val_loss"
    made = table(tmp_path / "outputs", metric="val_loss")
    assert [each.score for each in made.configurations] == [1.5]
    assert made.notes[0].startswith("left out: 1 run without val_loss")  # the MLP


def test_a_model_that_fails_its_audit_is_left_out_of_its_ladder_and_alone(tmp_path):
    write_ladder(tmp_path / "outputs/evaluate", {"transformer": 1.0}, audit="sums")
    write_run(tmp_path / "outputs/transformer", 1.5)
    write_run(tmp_path / "outputs/other", 1.5, transformer__n_layer=9)
    for path in (tmp_path / "outputs", tmp_path / "outputs/transformer"):
        with pytest.raises(InputError, match="'transformer' is left out: it fails an audit: sums"):
            find_runs([path])


def edited(*path, value):
    """Return a function that sets a value in a record."""

    def edit(file):
        record = json.loads(file.read_bytes())
        *above, last = path
        node = record
        for key in above:
            node = node[key]
        node[last] = value
        file.write_text(json.dumps(record))

    return edit


def instead(make):
    """Return a function that replaces a file."""
    return lambda file: (file.unlink(), make(file))


MODEL = ("models", 0)
HOSTILE = {
    "Invalid JSON": lambda file: file.write_text("{"),
    "recursion limit": lambda file: file.write_text('{"settings": ' + "[" * 100_000),
    "models: 0: scores: val_loss: Input should be a finite number": edited(
        *MODEL, "scores", "val_loss", value=math.nan
    ),
    "scores.json: it is not a regular file": instead(os.mkfifo),
    "has no score of the validation text": edited("models", value=[]),
}


@pytest.mark.parametrize("named", HOSTILE)
def test_a_damaged_or_hostile_record_is_one_line_and_the_others_are_compared(tmp_path, named):
    write_run(tmp_path / "fine", 0.5)
    HOSTILE[named](write_run(tmp_path / "hostile", 0.4) / "scores.json")
    found = find_runs([tmp_path])
    assert [run.path.name for run in found.runs] == ["fine"]
    (note,) = found.notes
    assert named in note
    assert f"{tmp_path}/hostile" in note
    assert "left out" in note
    assert note.isprintable()


def test_no_text_of_a_record_controls_the_terminal(tmp_path, capsys):
    evil = "\x1b]0;owned\a\n\u202e"
    write_run(tmp_path / "a", 0.5, data__path=evil, overrides=[evil])
    write_run(tmp_path / "b", 0.6, data__path="b", losses=False)
    for name in FORMATS:
        print_comparison(table(tmp_path), name)
        printed = capsys.readouterr()
        assert (printed.out + printed.err).replace("\n", "").isprintable()


def test_the_page_names_the_folders_of_runs_below_their_common_one(sweep):
    page = to_html(table(sweep))
    assert f"the folders are in {sweep}" in page
    assert "<div>transformer.n_layer=1/seed=0</div>" in page


def test_unfinished_files_change_nothing_and_results_without_a_record_are_named(sweep):
    (sweep / "transformer.n_layer=1/seed=0/unfinished.safetensors").touch()
    (sweep / "old").mkdir()
    (sweep / "old/perplexity.csv").touch()
    (sweep / "text").mkdir()
    (sweep / "text/corpus.json").touch()
    (sweep / "circle").symlink_to(sweep)
    made = table(sweep)
    assert [len(each.runs) for each in made.configurations] == [3, 3, 3]
    (note,) = made.notes
    assert note.startswith(f"{sweep}/old has no scores.json and is left out")
