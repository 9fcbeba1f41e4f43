"""What is other in one run of the pipeline than in an earlier one."""

from lmladder.comparison.changes import changed_facts, changed_scores, changed_settings
from lmladder.scoring import BlockNats
from tests.comparison.folders import BLOCKS, TOKENS, block_scores, write_ladder

import pytest


def blocks(mlp, transformer, **how):
    made = {
        model: block_scores(nats, f"{model} {nats}", model=model, **how)
        for model, nats in (("mlp", mlp), ("transformer", transformer))
    }
    first = made["mlp"]
    nats = {model: each.nats[model] for model, each in made.items()}
    return BlockNats(first.data, first.first, first.tokens, nats)


@pytest.fixture
def folders(tmp_path):
    """A function that writes two folders of the stage evaluate."""

    def write(before, now, **how):
        for name, nats in (("before", before), ("now", now)):
            made = blocks(nats["mlp"], nats["transformer"], **how) if len(nats) > 1 else None
            write_ladder(
                tmp_path / name, nats, blocks=made, tokens=TOKENS * how.get("blocks", BLOCKS)
            )
        return tmp_path / "before", tmp_path / "now"

    return write


BEFORE = {"mlp": 0.9, "transformer": 0.5}
NOW = {"mlp": 0.9, "transformer": 0.4}


def test_a_score_that_differs_has_a_row_with_its_interval_and_others_are_named(folders):
    validation, test = changed_scores(*folders(BEFORE, NOW))
    assert validation.titles == ["Model", "Before", "Now", "Difference", "95 % interval"]
    ((model, before, now, difference, between),) = validation.rows
    assert (model, before, now, difference) == ("Transformer", "0.7213", "0.5771", "-0.1443")
    low, high = map(float, between.strip("[]").split(", "))
    assert low < -0.1443 < high < 0
    assert high - low < 0.02  # hard blocks are hard for both
    assert validation.caption.startswith("Bits per byte. Validation text: 16,384 tokens")
    assert validation.caption.endswith("The same: MLP")
    assert test.rows == []
    assert test.caption.endswith("The same: MLP, Transformer")


def test_a_model_that_only_one_run_has_has_one_score(folders):
    (validation, _) = changed_scores(*folders({"mlp": 0.9}, NOW))
    assert validation.rows == [("Transformer", "", "0.5771", "")]
    (validation, _) = changed_scores(*folders(NOW, {"mlp": 0.9}))
    assert validation.rows == [("Transformer", "0.5771", "", "")]


def test_few_blocks_or_blocks_of_other_text_give_no_interval(folders, tmp_path):
    few, _ = changed_scores(*folders(BEFORE, NOW, blocks=8))
    assert few.titles == ["Model", "Before", "Now", "Difference"]
    before, now = folders(BEFORE, NOW)
    (now / "block_nats.csv").write_text(blocks(0.9, 0.4, data="1" * 64).to_csv())
    other, _ = changed_scores(before, now)
    assert other.titles == few.titles
    assert other.rows == few.rows


def test_blocks_of_other_scores_are_not_used(folders):
    before, now = folders(BEFORE, NOW)
    (now / "block_nats.csv").write_text((before / "block_nats.csv").read_text())
    validation, _ = changed_scores(before, now)
    assert "95 % interval" not in validation.titles


def test_other_text_is_told(folders, tmp_path):
    write_ladder(tmp_path / "short", BEFORE, tokens=99)
    validation, _ = changed_scores(tmp_path / "short", folders(BEFORE, NOW)[1])
    assert "16,384 bytes; before: Validation text: 99 tokens, 99 bytes" in validation.caption


def test_settings_and_facts_that_differ_have_rows():
    made = changed_settings({"a": 1, "b": None, "c": "x"}, {"a": 2, "b": None, "d": True})
    assert made.rows == [("a", "1", "2"), ("d", "", "true"), ("c", "x", "")]
    assert changed_facts("Facts", {"a": "1"}, {"a": "1"}).caption == "Facts: nothing has changed"
    assert "this run" in changed_settings({}, None).caption
    assert "other run" in changed_settings(None, {}).caption
