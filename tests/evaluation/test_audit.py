"""The audit names what is wrong with a score, and raises no alarm where nothing is."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lmladder.data.tokenizers import Tokenizer, WhitespaceTokenizer, build_tokenizer
from lmladder.evaluation import audit as module
from lmladder.evaluation.audit import (
    FAILED,
    NOT_JUDGED,
    PASSED,
    Subject,
    audit,
    byte_count,
    names_of,
    slow_because,
)
from lmladder.system.arrays import FloatArray, IntArray
from tests.data.examples import tokenizer_settings
from tests.evaluation.faults import FAULTS, LearnsFirst, Wrapped, subject
from tests.models.examples import COUNT_MODELS, EXACT_MIXTURES, MIXTURES, SETTINGS, model_named

import numpy as np
import pytest

NAMES = (
    *("repeat", "finite", "update", "history", "future", "batch", "context", "sums", "loss"),
    *("text", "byte_count", "truth"),
)
MODELS = [*COUNT_MODELS, *SETTINGS, *MIXTURES, *EXACT_MIXTURES, "oracle"]


@pytest.mark.parametrize(("name", "check", "make"), FAULTS, ids=[each[0] for each in FAULTS])
def test_each_fault_fails_the_check_that_names_it_and_no_other(
    name: str, check: str, make: Callable[[], Subject]
) -> None:
    assert names_of(audit(make()), FAILED) == check


@pytest.mark.parametrize("name", MODELS)
def test_no_sound_model_raises_an_alarm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 2e-5)
    each = subject(lambda: model_named(name), true_nats=0.0)
    findings = audit(replace(each, claim=each.nats / len(each.text)))
    assert tuple(each.check for each in findings) == NAMES
    assert {each.status for each in findings} == {PASSED}
    assert slow_because(each) is None


def test_the_models_of_parts_of_a_text_are_audited_too() -> None:
    class Parted(Wrapped):
        def __init__(self) -> None:
            self.cross_fitted = (COUNT_MODELS["bigram"], LearnsFirst())

    sound = subject(lambda: COUNT_MODELS["bigram"])
    assert names_of(audit(replace(sound, load=Parted)), FAILED) == ""
    parted = replace(sound, load=Parted, is_validation=True)
    assert names_of(audit(parted), FAILED) == "update"


# --- Faults that are better hidden ----------------------------------------------------------------


class Rotated(Wrapped):
    """Scores by another distribution than the one that it shows."""

    def nll(self, tokens: IntArray) -> FloatArray:
        logs = np.roll(self.after(tokens[:, :-1]), 1, axis=-1)
        return -np.take_along_axis(logs, tokens[:, 1:, None], -1)[..., 0]


class LongMemory(Wrapped):
    """Depends on more tokens than it states."""

    def after(self, tokens: IntArray) -> FloatArray:
        logs = super().after(tokens)
        logs[:, 3:] = 0.9 * logs[:, 3:] + 0.1 * logs[:, :-3]
        return logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True)


class Broken(Wrapped):
    """Returns what is not a number for one token."""

    def nll(self, tokens: IntArray) -> FloatArray:
        return np.where(tokens[:, 1:] == 3, np.nan, super().nll(tokens))


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Rotated, "loss"),
        (LongMemory, "context"),
        (Broken, "finite"),
    ],
)
def test_a_hidden_fault_is_found(kind: Any, check: str) -> None:
    sound = subject(lambda: COUNT_MODELS["bigram"])
    findings = audit(replace(sound, load=kind))
    assert names_of(findings, FAILED) == check
    after = [each.status for each in findings[NAMES.index(check) + 1 : NAMES.index("text")]]
    assert set(after) <= {NOT_JUDGED}


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word", "whitespace"])
def test_no_tokenizer_raises_an_alarm_on_text_of_any_kind(kind: str) -> None:
    text = "The naïve 猫 isn't a  dog🙂, is it?\n<unk> \udcff\ufffd x=1\tThe the\u2019s " * 40
    if kind == "char":
        text = text.replace("\udcff", "")
    if kind == "whitespace":
        tokenizer: Tokenizer = WhitespaceTokenizer(sorted({*text.split()}))
    else:
        changes = {"unknown": "unk", "vocabulary_size": 266} if kind == "word" else {}
        tokenizer = build_tokenizer(tokenizer_settings(kind, **changes), [[text]])
    sound = subject(lambda: COUNT_MODELS["bigram"])
    each = replace(sound, tokenizer=tokenizer, text=tokenizer.encode(text))
    assert int(byte_count(each).split()[0]) > 50


def test_a_loss_that_is_better_than_the_truth_by_more_than_chance_fails() -> None:
    sound = subject(lambda: COUNT_MODELS["bigram"])
    for gain, expected in ((-1000.0, ""), (10.0, ""), (15.0, "truth")):
        findings = audit(replace(sound, true_nats=sound.nats + gain))
        assert names_of(findings, FAILED) == expected
    assert names_of(audit(sound), NOT_JUDGED) == "truth"
