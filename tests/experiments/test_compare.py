"""Configurations and their differences, from folders as the stages write them."""

import errno
import json
import math
import os
import shutil
from dataclasses import replace
from itertools import product

from lmladder.experiments import compare, find_runs
from lmladder.system.errors import InputError
from tests.experiments.folders import (
    BLOCKS,
    TOKENS,
    block_scores,
    write_finished,
    write_ladder,
    write_lock,
    write_run,
    write_settings,
)

import pytest


def table(*paths, **how):
    found = find_runs(paths)
    return compare(found.runs, notes=found.notes, **how)


def metrics_of(loss):
    """Return metrics.json of a Transformer; the loss is any text, so that it may not be JSON."""
    named = '"model": "transformer", "kind": "transformer", "rung": "transformer"'
    return f'{{{named}, "val_loss": {loss}}}'.encode()


def shown(comparison):
    return [each.shown for each in comparison.configurations]


def models(comparison):
    return [each.model for each in comparison.configurations]


def ranks(comparison):
    return [each.rank for each in comparison.configurations]


# --- Configurations -------------------------------------------------------------------------------


def test_runs_that_differ_only_in_seed_are_one_configuration_with_mean_and_deviation(sweep):
    made = table(sweep)
    assert made.metric == "val_loss"
    assert shown(made) == ["n_layer=3", "n_layer=2", "n_layer=1"]
    for each, mean in zip(made.configurations, (0.5, 0.5005, 0.9), strict=True):
        assert [run.seed for run in each.runs] == [0, 1, 2]
        assert each.score == pytest.approx(mean)
        assert each.standard_deviation == pytest.approx(0.01)
    assert made.notes == ()
    again = table(sweep, sweep / "transformer.n_layer=1", sweep)  # a run counts once
    assert [len(each.runs) for each in again.configurations] == [3, 3, 3]


def test_an_unknown_setting_metric_or_folder_is_an_input_error(sweep, tmp_path):
    with pytest.raises(InputError, match=r"'n_layer'.*transformer\.n_layer"):
        table(sweep, by="n_layer")
    with pytest.raises(InputError, match="--power requires two configurations with intervals"):
        table(sweep / "transformer.n_layer=1", power=0.1)
    with pytest.raises(InputError, match="no run has a metric 'perplexity'; choose from val_loss"):
        table(sweep, metric="perplexity")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    reasons = {"empty": "no finished run in", "none": "does not exist", "file": "is not a folder"}
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=reason):
            find_runs([tmp_path / name])


@pytest.mark.parametrize(
    "settings", [{"runtime__threads": 7}, {"sample__tokens": 3}, {"mlp__activation": "tanh"}]
)
def test_settings_that_do_not_affect_a_score_do_not_divide_configurations(tmp_path, settings):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.6, seed=1, **settings)
    assert len(table(tmp_path).configurations) == 1


def test_settings_of_equal_value_are_equal_in_any_notation(tmp_path):
    """Hydra keeps references and writes 1.0e-08, DVC has resolved them and writes 1e-08."""
    how = {"transformer__context_length": 64}
    first = write_run(tmp_path / "a", 0.5, transformer__training__sequence_length=64, **how)
    config = (first / ".hydra/config.yaml").read_text()
    reference = config.replace("sequence_length: 64", "sequence_length: ${..context_length}")
    (first / ".hydra/config.yaml").write_text(reference)
    config = config.replace("epsilon: 1.0e-08", "epsilon: 1e-08").replace(
        "seed: 0\nruntime", "seed: 1\nruntime"
    )
    second = shutil.copytree(first, tmp_path / "b")
    (second / "checkpoint.safetensors").unlink()
    (second / ".hydra/config.yaml").write_text(config)
    assert len(table(tmp_path).configurations) == 1


def test_runs_of_another_text_under_the_same_name_are_another_configuration(tmp_path):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.6, seed=1, blocks=block_scores(0.6, "b", data="1" * 64))
    assert shown(table(tmp_path)) == [
        "data.digest=0000000000000000", "data.digest=1111111111111111",
    ]  # fmt: skip


def test_the_same_run_with_another_score_is_named(tmp_path):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.6)
    made = table(tmp_path)
    assert [each.score for each in made.configurations] == [0.5]
    (note,) = made.notes
    assert "0.500000, not 0.600000" in note


def test_mixed_versions_and_kernels_are_noted_in_one_line(sweep):
    for seed, version in enumerate(("2.4.0", "2.4.1")):
        how = {"runtime__kernels": "numpy", "numpy": version, "seed": seed}
        write_run(sweep / f"other/{version}", 0.7, **how)
    assert table(sweep).notes == (
        "mixed versions or kernels, with numbers of runs: "
        "numpy 2.4.0 (10), 2.4.1 (1); kernels numba (9), numpy (2)",
    )


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
    nats = {"trigram": 1.0, "bigram": 1.2}
    blocks = block_scores(1.0, "a", model="trigram")
    blocks = replace(blocks, nats=blocks.nats | block_scores(1.2, "b", model="bigram").nats)
    write_ladder(tmp_path, nats | {"oracle": 0.1}, n_bytes=40_000, blocks=blocks)
    bits = BLOCKS * TOKENS / 40_000 / math.log(2)
    units = {"nats_per_token": 1, "bits_per_byte": bits, "perplexity": math.e}
    lengths = {}
    for metric, unit in units.items():
        made = table(tmp_path, metric=metric)
        assert (models(made), ranks(made)) == (["trigram", "bigram"], [1, 2])
        best, worse = made.configurations
        assert best.score == pytest.approx(unit, abs=1e-5)
        lengths[metric] = worse.high - worse.low
    assert lengths["bits_per_byte"] == pytest.approx(lengths["nats_per_token"] * bits)
    assert lengths["perplexity"] > lengths["nats_per_token"] * math.e


ONE_SEED = (
    "without an interval and a rank: one seed, so the variance over seeds is unknown; "
    "run at least three"
)


def test_each_configuration_is_compared_with_the_one_that_an_override_names(sweep):
    """Or a setting; the p-values are those of real differences, the other models are left out."""
    for n_layer, name in ((1, "thin"), (2, "base"), (3, "thick")):
        for folder in sweep.glob(f"transformer.n_layer={n_layer}/*/.hydra"):
            (folder / "overrides.yaml").write_text(f"- +recipe={name}\n- seed=0\n")
        write_run(sweep / "mlp" / name, 0.7, rung="mlp", transformer__n_layer=n_layer)
    made = table(sweep, against="recipe=base")
    assert shown(made) == ["recipe=thick", "recipe=base", "recipe=thin"]
    better, base, worse = made.configurations
    assert worse.difference == pytest.approx(0.3995)
    assert 0 < worse.low < worse.difference < worse.high
    assert worse.p < 0.05 < better.p
    assert better.low < 0 < better.high
    assert (base.difference, base.low, base.p) == (None, None, None)
    assert ranks(made) == [None, None, None]
    again = table(sweep, against="transformer.n_layer=2")
    assert shown(again) == ["n_layer=3", "n_layer=2", "n_layer=1"]
    assert [each.p for each in again.configurations] == [better.p, None, worse.p]


@pytest.mark.parametrize(
    ("against", "reason"),
    [
        ("transformer.n_layer=4", "no configuration; choose from transformer.n_layer=1, tr"),
        (
            "recipe=base",
            "no configuration; choose from settings and overrides of the sweep, as KEY=",
        ),
        ("transformer.n_head=4", "3 configurations; name folders of one text and model"),
    ],
)
def test_a_base_that_is_not_one_configuration_is_an_input_error(sweep, against, reason):
    with pytest.raises(InputError, match=f"--against '{against}' is the name of {reason}"):
        table(sweep, against=against)


def test_one_seed_of_a_deterministic_model_is_enough(tmp_path):
    nats = {"transformer": 0.5, "trigram": 0.6, "bigram": 0.9}
    blocks = block_scores(0.5, "a")
    for name in ("trigram", "bigram"):
        blocks = replace(blocks, nats=blocks.nats | block_scores(nats[name], name, model=name).nats)
    write_ladder(tmp_path / "ladder", nats, blocks=blocks)
    made = table(tmp_path / "ladder")
    assert models(made) == ["transformer", "trigram", "bigram"]
    assert ranks(made) == [None, None, 2]  # the Transformer may be better than the trigram
    assert f"1 configuration {ONE_SEED}" in made.notes


def test_power_is_the_number_of_seeds_that_a_difference_needs(sweep):
    asked = [table(sweep, power=difference).power for difference in (0.1, 0.01, 0.0001)]
    assert 2 <= asked[0]["seeds"] < 10 < asked[1]["seeds"] < 100
    assert asked[2]["seeds"] is None
    assert asked[2]["answer"].startswith("a difference of 0.0001 needs more than 1,000 seeds")
    with pytest.raises(InputError, match="must be positive, got -1"):
        table(sweep, power=-1)


UNEQUAL = {  # blocks of two runs
    "no scores of the same blocks": ({}, None),
    "other data": ({}, {"data": "1" * 64}),
    "other parts of the text": ({}, {"blocks": 64}),
    "the text has fewer than 20 blocks": ({"blocks": 19}, {"blocks": 19}),
}


@pytest.mark.parametrize("reason", UNEQUAL)
def test_without_enough_common_blocks_there_is_no_interval_and_a_note_has_the_reason(
    tmp_path, reason
):
    first, second = UNEQUAL[reason]
    write_run(tmp_path / "a", 0.5, blocks=block_scores(0.5, "a", **first))
    blocks = second is not None and block_scores(0.6, "b", **second)
    write_run(tmp_path / "b", 0.6, blocks=blocks, transformer__n_layer=9)
    made = table(tmp_path)
    assert [each.score for each in made.configurations] == [0.5, 0.6]
    other = made.configurations[1]
    assert other.low is other.high is other.rank is None
    assert reason in " ".join(made.notes)


# --- Ladders --------------------------------------------------------------------------------------


def test_count_models_have_exact_scores_from_their_stage(tmp_path):
    metrics = {"kind": "counts", "rung": "bigram", "val_loss": {"uniform": 4.0, "bigram": 2.0}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    made = table(tmp_path)
    assert made.metric == "nats_per_token"
    assert {each.model: each.score for each in made.configurations} == metrics["val_loss"]


def test_mixtures_of_differently_trained_members_are_different_configurations(tmp_path):
    metrics = {"kind": "mixture", "rung": "mixtures/both", "val_loss": {"both": 2.0}}
    for name, layers in (("first", 2), ("second", 3), ("third", 3)):
        write_settings(tmp_path / name, {"transformer.n_layer": layers})
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    assert len(table(tmp_path).configurations) == 2


def test_scores_of_sequences_and_of_whole_texts_are_not_mixed(sweep, tmp_path):
    write_ladder(tmp_path / "ladder", {"mlp": 1.0})
    made = table(sweep, tmp_path / "ladder")
    assert models(made) == ["mlp"]
    assert made.notes[0] == "left out: 9 runs without bits_per_byte, which have val_loss"
    made = table(sweep, tmp_path / "ladder", metric="val_loss")
    assert len(made.configurations) == 3
    assert "1 run without val_loss" in made.notes[0]


def test_outputs_of_the_pipeline_have_the_settings_that_dvc_recorded(tmp_path):
    for name, seed in (("first", 0), ("second", 1)):
        folder = write_ladder(tmp_path / name / "outputs/evaluate", {"transformer": 1.0 + seed})
        recorded = {"transformer": {"n_layer": 2}, "runtime.kernels": "numba"}
        write_lock(folder, seed=seed, data={"corpus": "tales"}, **recorded)
    (each,) = table(tmp_path).configurations
    assert [run.seed for run in each.runs] == [0, 1]
    assert each.settings == {
        "data.corpus": "tales", "transformer.n_layer": 2, "runtime.kernels": "numba",
    }  # fmt: skip


def test_a_rung_beside_the_ladder_that_scored_it_is_counted_once(tmp_path):
    write_ladder(tmp_path / "outputs/evaluate", {"transformer": 1.0})
    (tmp_path / "outputs/transformer").mkdir()
    (tmp_path / "outputs/transformer/metrics.json").write_bytes(metrics_of("1.5"))
    made = table(tmp_path / "outputs")
    assert models(made) == ["transformer"]
    assert made.notes == ("1 run without known settings, compared by folder",)
    assert table(tmp_path / "outputs", metric="val_loss").configurations[0].score == 1.5


# --- Edited and damaged files ---------------------------------------------------------------------


def forge_blocks(folder):
    (folder / "block_losses.csv").write_text(block_scores(0.1, "forged").to_csv())


def rewritten(name, old, new):
    def edit(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return edit


METRICS, HISTORY, BLOCK_LOSSES = "metrics.json", "history.csv", "block_losses.csv"
CONFIG, SEED = ".hydra/config.yaml", "seed: 0\nruntime"
EDITS = {
    (METRICS, rewritten(METRICS, '"val_loss": 0.4', '"val_loss": 0.1')),
    (METRICS, rewritten(METRICS, '"kind": "transformer"', '"kind": "counts"')),
    (HISTORY, rewritten(HISTORY, "0.4", "0.1")),
    (BLOCK_LOSSES, forge_blocks),
    (BLOCK_LOSSES, rewritten(BLOCK_LOSSES, "0" * 16, "1" * 16)),
}
SAMPLES = ("samples.txt", rewritten("samples.txt", "Once", "Twice"))
RECORDS = {  # and what they contradict
    "checkpoint": {
        *EDITS,
        ("n_layer=8", rewritten(CONFIG, "n_layer: 9", "n_layer: 8")),
        ("seed=1", rewritten(CONFIG, SEED, SEED.replace("0", "1"))),
    },
    "finished.json": {*EDITS, SAMPLES},
    "dvc.lock": {*EDITS, SAMPLES},
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_file_that_a_record_contradicts_is_named_and_its_run_left_out(tmp_path, record):
    for case, (named, edit) in enumerate(RECORDS[record]):
        folder = write_run(tmp_path / f"{case}/outputs/transformer", 0.4, transformer__n_layer=9)
        if record != "checkpoint":
            (folder / "checkpoint.safetensors").unlink()
        if record == "finished.json":
            write_finished(folder)
        if record == "dvc.lock":
            shutil.rmtree(folder / ".hydra")
            write_lock(folder)
        assert len(find_runs([folder]).runs) == 1
        edit(folder)
        with pytest.raises(InputError, match=rf"{named}.*{record}.*; the run is left out") as error:
            find_runs([folder])
        for name in {METRICS, HISTORY, BLOCK_LOSSES, "samples.txt"} - {named}:
            assert name not in str(error.value)


TITLES = "model,kind,rung,split,tokens,bytes,nats_per_token,perplexity,bits_per_byte"
DAMAGE = [
    (METRICS, metrics_of("NaN")),
    (METRICS, b'{"loss": 1}'),
    (BLOCK_LOSSES, b"data,first"),
    (CONFIG, b"seed: [1\n"),
    ("checkpoint.safetensors", b"weights"),
    ("finished.json", b'{"files": '),
    ("perplexity.csv", f"{TITLES}\nmlp,mlp,mlp,val,9,0,1,1,1\n".encode()),
    ("perplexity.csv", f"{TITLES}\nmlp,mlp,mlp,val,9,9,1,0.5,1.442695\n".encode()),
]


def test_a_damaged_run_is_named_in_a_line_and_left_out(tmp_path):
    for number, ((name, content), checkpoint) in enumerate(product(DAMAGE, (True, False))):
        folder = write_run(tmp_path / str(number), 0.1)
        if not checkpoint:
            (folder / "checkpoint.safetensors").unlink()
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{folder}.*left out") as error:
            find_runs([folder])
        assert "\n" not in str(error.value)


def test_what_is_not_compared_is_named(sweep):
    (write_run(sweep / "going on", 0.1) / "unfinished.safetensors").touch()
    (write_run(sweep / "begun", 0.1) / "metrics.json").unlink()
    write_ladder(sweep / "ladder", {"mamba": 0.5})
    (sweep / "circle").symlink_to(sweep)
    made = table(sweep)
    assert len(made.configurations) == 3
    expected = [
        f"{sweep}/begun has no result and is left out",
        f"{sweep}/going on is unfinished and left out",
        f"{sweep}/ladder: 'mamba' is left out: unknown kind of rung 'mamba'",
    ]
    for note, beginning in zip(made.notes, expected, strict=True):
        assert note.startswith(beginning)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def closed(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InputError, match=f"{tmp_path} cannot be read and is left out: Permission"):
        find_runs([tmp_path])
