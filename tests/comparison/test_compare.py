"""Lines and their differences, from folders as the stages leave them."""

import errno
import json
import math
import os
import re
import shutil
import sys
import time

from lmladder.comparison import compare, find_runs
from lmladder.comparison.bootstrap import interval, other_seeds, resampled_nats
from lmladder.errors import InputError
from tests.comparison.folders import (
    BLOCKS,
    TOKENS,
    block_scores,
    write_ladder,
    write_run,
)

import numpy as np
import pytest
import yaml


def table(*paths, **how):
    found = find_runs(paths)
    return compare(found.runs, notes=found.notes, **how)


def by_shown(comparison):
    return {line.shown: line for line in comparison.lines}


# --- Lines ----------------------------------------------------------------------------------------


def test_runs_that_differ_only_in_seed_are_one_line_with_mean_and_deviation(sweep):
    made = table(sweep)
    assert made.metric == "val_nats"
    assert [line.shown for line in made.lines] == [
        "n_layer=3", "n_layer=2", "n_layer=1",
    ]  # fmt: skip
    for line, mean in zip(made.lines, (0.5, 0.5005, 0.9), strict=True):
        assert [run.seed for run in line.runs] == [0, 1, 2]
        assert line.score == pytest.approx(mean)
        assert line.deviation == pytest.approx(0.01)
    assert made.notes == ()


def test_only_a_real_difference_has_a_rank(sweep):
    best, same, worse = table(sweep).lines
    assert (best.rank, best.difference, best.low) == (1, None, None)
    assert same.low < 0 < same.high
    assert same.rank is None
    assert worse.low > 0
    assert worse.rank == 3


def test_difference_and_interval_are_those_of_the_blocks(sweep):
    best, _, worse = table(sweep).lines
    assert worse.difference == pytest.approx(0.4)

    def resampled(n_layer, shift):
        nats = [
            block_scores(nats, f"{n_layer} {seed}").nats["transformer"]
            for seed, nats in enumerate(shift + np.array([-0.01, 0, 0.01]))
        ]
        return resampled_nats(np.array(nats), np.full(BLOCKS, float(TOKENS))).mean(axis=1)

    scores = [run.scores["val_nats"] for run in worse.runs]
    seeds = other_seeds(scores, [run.scores["val_nats"] for run in best.runs], worse.identity)
    expected = interval(resampled(1, 0.9) - resampled(3, 0.5) + seeds)
    assert (worse.low, worse.high) == pytest.approx(expected, abs=1e-6)


def test_what_else_is_compared_does_not_change_a_difference(sweep, tmp_path):
    alone = by_shown(table(sweep))["n_layer=1"]
    write_run(sweep / "more", 0.7, transformer__n_layer=4)
    beside = by_shown(table(sweep))["n_layer=1"]
    assert (beside.low, beside.high) == (alone.low, alone.high)


def test_lines_are_ordered_by_a_setting_on_request(sweep):
    made = table(sweep, by="transformer.n_layer")
    assert [line.group for line in made.lines] == [1, 2, 3]
    assert [line.rank for line in made.lines] == [3, None, 1]
    assert {line.shown for line in made.lines} == {""}  # the group tells it


def test_values_of_a_setting_are_ordered_as_numbers(tmp_path):
    for d_model in (128, 64, 1024):
        write_run(tmp_path / str(d_model), 1.0, transformer__d_model=d_model)
    made = table(tmp_path, by="transformer.d_model")
    assert [line.group for line in made.lines] == [64, 128, 1024]


def test_a_setting_that_nobody_has_is_refused_with_those_like_it(sweep):
    with pytest.raises(InputError, match=r"'n_layer'.*transformer\.n_layer"):
        table(sweep, by="n_layer")


def test_runs_without_the_setting_are_left_out_with_a_note(sweep, tmp_path):
    write_run(tmp_path / "other/mlp", 0.8, stage="mlp", blocks=False)
    made = table(sweep, tmp_path / "other", by="transformer.n_layer")
    assert len(made.lines) == 3
    assert made.notes == ("left out: 1 run without transformer.n_layer",)


@pytest.mark.parametrize(
    "settings", [{"runtime__threads": 7}, {"sample__tokens": 3}, {"mlp__activation": "tanh"}]
)
def test_settings_that_a_score_does_not_depend_on_make_no_line(tmp_path, settings):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.6, seed=1, **settings)
    assert len(table(tmp_path).lines) == 1


def test_a_setting_is_its_value_however_it_is_written(tmp_path):
    """Hydra keeps references and writes 1.0e-08, DVC has resolved them and writes 1e-08."""
    how = {"transformer__training__row_length": "${..context_length}"}
    write_run(tmp_path / "a", 0.5, **how, transformer__context_length=64)
    folder = write_run(tmp_path / "b", 0.6, seed=1, transformer__context_length=64)
    config = folder / ".hydra/config.yaml"
    written = config.read_text().replace("row_length: 256", "row_length: 64")
    config.write_text(written.replace("epsilon: 1.0e-08", "epsilon: 1e-08"))
    assert len(table(tmp_path).lines) == 1


def test_an_mlp_is_named_by_its_network(tmp_path):
    write_run(tmp_path / "a", 0.5, stage="mlp", blocks=False, mlp__network="gru")
    assert table(tmp_path).lines[0].model == "gru"


def test_one_run_in_two_folders_counts_once(sweep):
    made = table(sweep, sweep / "transformer.n_layer=1", sweep)
    assert [len(line.runs) for line in made.lines] == [3, 3, 3]


def test_runs_of_another_text_under_the_same_name_are_another_line(tmp_path):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.6, seed=1, blocks=block_scores(0.6, "b", data="1" * 16))
    assert [line.shown for line in table(tmp_path).lines] == [
        "data.digest=0000000000000000", "data.digest=1111111111111111",
    ]  # fmt: skip


def test_the_same_run_with_another_score_is_named(tmp_path):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.6)
    made = table(tmp_path)
    assert [line.score for line in made.lines] == [0.5]
    (note,) = made.notes
    assert "0.500000, not 0.600000" in note


# --- What cannot be paired ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "why"),
    [
        (False, "no scores of blocks"),
        (block_scores(0.6, "b", data="1" * 64), "other data"),
        (block_scores(0.6, "b", blocks=64), "other parts of the text"),
    ],
    ids=["missing", "other data", "other blocks"],
)
def test_a_difference_that_cannot_be_paired_is_left_empty_and_says_why(tmp_path, blocks, why):
    write_run(tmp_path / "a", 0.5)
    write_run(tmp_path / "b", 0.6, blocks=blocks, transformer__n_layer=9)
    made = table(tmp_path)
    assert [line.score for line in made.lines] == [0.5, 0.6]
    other = made.lines[1]
    assert other.difference is other.low is other.high is other.rank is None
    (note,) = made.notes
    assert "1 line" in note
    assert why in note


def test_without_blocks_of_the_best_there_is_no_difference(tmp_path):
    write_run(tmp_path / "a", 0.5, blocks=False)
    write_run(tmp_path / "b", 0.6, transformer__n_layer=9)
    made = table(tmp_path)
    assert [line.rank for line in made.lines] == [1, None]
    assert "the best line has no scores of blocks" in made.notes[0]


def test_a_short_text_has_too_few_blocks(tmp_path):
    write_run(tmp_path / "a", 0.5, blocks=block_scores(0.5, "a", blocks=19))
    other = block_scores(0.6, "b", blocks=19)
    write_run(tmp_path / "b", 0.6, blocks=other, transformer__n_layer=9)
    assert "fewer than 20 blocks" in table(tmp_path).notes[0]


def test_blocks_of_another_run_are_not_used(tmp_path):
    write_run(tmp_path / "a", 0.5, blocks=block_scores(0.4, "a"))
    made = table(tmp_path)
    assert made.lines[0].runs[0].blocks is None
    assert "block_nats.csv is damaged and not used: transformer has 0.400000" in made.notes[0]


# --- Ladders --------------------------------------------------------------------------------------


def test_a_ladder_is_compared_on_its_validation_text_without_the_oracle(tmp_path):
    write_ladder(tmp_path / "a", {"bigram": 2.0, "mlp": 1.0, "oracle": 0.1}, n_bytes=40_000)
    made = table(tmp_path)
    assert made.metric == "bits_per_byte"
    assert [line.model for line in made.lines] == ["mlp", "bigram"]
    expected = BLOCKS * TOKENS / 40_000 / math.log(2)
    assert made.lines[0].score == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", ["bits_per_byte", "nats_per_token", "perplexity"])
def test_an_interval_is_in_the_units_of_its_metric(tmp_path, metric):
    both = block_scores(1.0, "a", model="mlp")
    second = block_scores(1.2, "b", model="bigram")
    both = type(both)(both.data, both.first, both.tokens, {**both.nats, **second.nats})
    write_ladder(tmp_path, {"mlp": 1.0, "bigram": 1.2}, n_bytes=40_000, blocks=both)
    best, worse = table(tmp_path, metric=metric).lines
    assert worse.difference == pytest.approx(worse.score - best.score)
    assert worse.low < worse.difference < worse.high
    means = resampled_nats(
        np.array([both.nats["mlp"], both.nats["bigram"]]), np.array(both.tokens, float)
    )
    scores = {
        "bits_per_byte": means * BLOCKS * TOKENS / 40_000 / math.log(2),
        "nats_per_token": means,
        "perplexity": np.exp(means),
    }[metric]
    expected = interval(scores[:, 1] - scores[:, 0])
    assert (worse.low, worse.high) == pytest.approx(expected, abs=1e-6)


def test_scores_of_rows_and_of_whole_texts_are_not_mixed(sweep, tmp_path):
    write_ladder(tmp_path / "ladder", {"mlp": 1.0})
    made = table(sweep, tmp_path / "ladder")
    assert [line.model for line in made.lines] == ["mlp"]
    assert made.notes[0] == "left out: 9 runs without bits_per_byte, which have val_nats"
    rows = table(sweep, tmp_path / "ladder", metric="val_nats")
    assert len(rows.lines) == 3
    assert "1 run without val_nats" in rows.notes[0]


def test_outputs_of_the_pipeline_have_the_settings_that_dvc_recorded(tmp_path):
    for name, seed in (("first", 0), ("second", 1)):
        write_ladder(tmp_path / name / "outputs/evaluate", {"transformer": 1.0 + seed})
        recorded = {
            "prepare": {"data": {"corpus": "tales"}},
            "evaluate": {"seed": seed, "transformer": {"n_layer": 2}, "runtime.kernels": "numba"},
        }
        stages = {stage: {"params": {"params.yaml": params}} for stage, params in recorded.items()}
        (tmp_path / name / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    (line,) = table(tmp_path).lines
    assert [run.seed for run in line.runs] == [0, 1]
    assert line.runs[0].settings == {
        "data.corpus": "tales", "transformer.n_layer": 2, "runtime.kernels": "numba",
    }  # fmt: skip


def test_a_rung_beside_the_ladder_that_scored_it_is_not_missed(tmp_path):
    write_ladder(tmp_path / "outputs/evaluate", {"transformer": 1.0})
    (tmp_path / "outputs/transformer").mkdir()
    (tmp_path / "outputs/transformer/metrics.json").write_text('{"val_nats": 1.5}')
    made = table(tmp_path / "outputs")
    assert len(made.lines) == 1
    assert made.notes == ("1 run without known settings, each a line of its own",)
    assert table(tmp_path / "outputs", metric="val_nats").lines[0].score == 1.5


def test_count_models_have_exact_scores_from_their_stage(tmp_path):
    folder = write_run(tmp_path / "a", 1.0, stage="bigram", blocks=False)
    (folder / "metrics.json").write_text('{"val_nats": {"uniform": 4.0, "bigram": 2.0}}')
    made = table(tmp_path)
    assert made.metric == "nats_per_token"
    assert {line.model: line.score for line in made.lines} == {"bigram": 2.0, "uniform": 4.0}


# --- Damage ---------------------------------------------------------------------------------------


DAMAGE = {
    "truncated": ("metrics.json", '{"val_nats": 0.'),
    "another program's": ("metrics.json", '{"loss": 1}'),
    "no mapping": ("metrics.json", "[1]"),
    "not finite": ("metrics.json", '{"val_nats": NaN}'),
    "text": ("metrics.json", '{"val_nats": "low"}'),
    "not UTF-8": (".hydra/config.yaml", b"seed: \xff\n"),
    "no YAML": (".hydra/config.yaml", "seed: [1\n"),
    "no settings": (".hydra/config.yaml", "nothing"),
    "a seed of letters": (".hydra/config.yaml", "seed: one"),
    "no seed": (".hydra/config.yaml", "data: {}"),
    "half a table": ("perplexity.csv", "model,split,tokens\nmlp,val,9\n"),
    "a table of text": (
        "perplexity.csv",
        "model,split,tokens,bytes,nats_per_token,perplexity,bits_per_byte\nmlp,val,9,0,1,1,1\n",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_named_in_a_line_and_left_out(sweep, damage):
    folder = write_run(sweep / "damaged", 0.1, transformer__n_layer=9)
    name, content = DAMAGE[damage]
    content = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(content)
    made = table(sweep)
    assert len(made.lines) == 3
    (note,) = made.notes
    assert str(folder) in note
    assert "left out" in note
    assert "\n" not in note


def test_a_run_of_no_rung_is_left_out(sweep):
    folder = write_run(sweep / "other", 0.1, stage="other", blocks=False)
    assert table(sweep).notes == (
        f"{folder} is damaged and left out: metrics.json is of no rung that is known, "
        "but of 'other'",
    )


def test_a_copy_of_a_run_under_any_name_is_a_run(tmp_path):
    folder = write_run(tmp_path / "copied", 0.5)
    shutil.rmtree(folder / ".hydra")
    made = table(tmp_path)
    assert [(line.model, line.shown) for line in made.lines] == [("transformer", str(folder))]
    assert made.notes == ("1 run without known settings, each a line of its own",)


def test_unfinished_runs_are_named_and_left_out(sweep):
    (write_run(sweep / "going on", 0.1) / "unfinished.safetensors").touch()
    (write_run(sweep / "begun", 0.1, blocks=False) / "metrics.json").unlink()
    assert table(sweep).notes == (
        f"{sweep}/begun has no result and is left out",
        f"{sweep}/going on is unfinished and left out",
    )


def test_links_to_runs_are_followed_once(sweep, tmp_path):
    (tmp_path / "chosen").mkdir()
    for n_layer in (1, 3):
        name = f"transformer.n_layer={n_layer}"
        (tmp_path / "chosen" / name).symlink_to(sweep / name)
    (tmp_path / "chosen/circle").symlink_to(tmp_path / "chosen")
    assert [len(line.runs) for line in table(tmp_path / "chosen").lines] == [3, 3]


def test_a_folder_that_cannot_be_read_is_named(sweep, monkeypatch):
    closed = str(sweep / "transformer.n_layer=2")
    scandir = os.scandir

    def guarded(path):
        if str(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    made = table(sweep)
    assert len(made.lines) == 2
    assert made.notes == (f"{closed} cannot be read and is left out: Permission denied",)


def test_nothing_to_compare_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no finished run in"):
        find_runs([tmp_path])
    with pytest.raises(InputError, match="does not exist"):
        find_runs([tmp_path / "nowhere"])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no folder of runs"):
        find_runs([tmp_path / "file"])


def test_a_metric_that_there_is_not_is_refused(sweep):
    with pytest.raises(InputError, match="no run has perplexity; there is val_nats"):
        table(sweep, metric="perplexity")
    with pytest.raises(InputError, match="unknown metric 'loss'; choose from bits_per_byte"):
        table(sweep, metric="loss")


# --- The command ----------------------------------------------------------------------------------


def test_the_terminal_shows_plain_text_where_it_is_none(sweep, command):
    done = command(sweep)
    assert done.status == 0
    assert done.stderr == ""
    heading, titles, *lines = done.stdout.splitlines()
    assert heading.startswith("Nats per token of validation rows, which begin without a past")
    assert titles.split()[:4] == ["Model", "Settings", "Rank", "Runs"]
    assert [line.split()[1] for line in lines] == [f"n_layer={n_layer}" for n_layer in (3, 2, 1)]
    assert "\x1b" not in done.stdout
    assert command(sweep).stdout == done.stdout


def test_a_terminal_of_80_columns_folds_settings_and_no_number(sweep, command, monkeypatch):
    write_run(sweep / "long", 0.95, transformer__training__evaluate_every=77)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    shown = re.sub(r"\x1b\[[\d;]*m", "", command(sweep).stdout)
    assert max(map(len, shown.splitlines())) <= 80
    assert "0.9000 ± 0.0100  +0.4000 [" in shown
    joined = "".join(line[13:24].strip() for line in shown.splitlines())
    assert "training.evaluate_every=77" in joined


def test_csv_is_for_programs(sweep, command):
    head, best, *_, worst = command(sweep, "--csv").stdout.splitlines()
    assert head == ("model,settings,rank,runs,val_nats,standard_deviation,difference,low,high")
    assert best == "transformer,n_layer=3,1,3,0.500000,0.010000,,,"
    assert worst.startswith("transformer,n_layer=1,3,3,0.900000,0.010000,0.400000,")


def test_json_tells_seeds_folders_and_notes_too(sweep, command):
    (sweep / "transformer.n_layer=1/seed=0/metrics.json").unlink()
    done = command(sweep, "--json", "--by", "transformer.n_layer")
    made = json.loads(done.stdout)
    assert (made["metric"], made["by"]) == ("val_nats", "transformer.n_layer")
    assert made["lines"][0]["seeds"] == [1, 2]
    assert made["lines"][0]["settings"]["transformer.n_layer"] == 1
    assert made["lines"][0]["folders"][0].endswith("seed=1")
    assert made["notes"] == [done.stderr.removeprefix("note: ").rstrip("\n")]


def test_markdown_and_latex_survive_any_setting(tmp_path, command):
    write_run(tmp_path / "a", 0.5, data__path="a|b_{c}\\d")
    write_run(tmp_path / "b", 0.6, data__path="[x] & 5%")
    markdown = command(tmp_path, "--markdown").stdout.splitlines()
    assert "data.path=a\\|b_{c}\\d" in markdown[4]
    assert len(markdown) == 6
    latex = command(tmp_path, "--latex").stdout
    assert r"data.path=a|b\_\{c\}\textbackslash{}d" in latex
    assert r"data.path={[}x] \& 5\%" in latex
    assert latex.count(r"\\") == 3
    assert latex.rstrip().endswith(r"\end{tabular}")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere does not exist"),
        ([], "name folders of runs"),
        (["--csv", "--json"], "--csv and --json"),
        (["--metric", "loss"], "unknown metric 'loss'"),
        (["--by", "transformer.depth"], "'transformer.depth'"),
    ],
)
def test_a_mistake_is_told_in_one_line(sweep, command, arguments, named):
    where = [] if arguments in ([], ["nowhere"]) else [sweep]
    done = command(*where, *arguments)
    assert done.status == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert named.lower() in line.lower()


@pytest.mark.slow
def test_a_thousand_runs_are_compared_in_less_than_five_seconds(tmp_path, command):
    for width in range(200):
        for seed in range(5):
            folder = tmp_path / f"transformer.d_model={width + 8}/seed={seed}"
            made = block_scores(1 / (1 + width), f"{width} {seed}")
            nats = 1 / (1 + width)
            write_run(folder, nats, blocks=made, transformer__d_model=width + 8, seed=seed)
    started = time.perf_counter()
    done = command(tmp_path, "--csv")
    seconds = time.perf_counter() - started
    assert len(done.stdout.splitlines()) == 201
    assert done.stderr == ""
    assert seconds < 5, seconds
