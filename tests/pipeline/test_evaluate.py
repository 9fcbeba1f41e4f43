"""What the last stage does where a model or a setting is unusual."""

from types import SimpleNamespace
from typing import Any

from lmladder.models.guests import GuestTokenizer
from lmladder.pipeline.evaluate import PROMPT_TOKENS, Entry, Ladder
from lmladder.sampling import SampleSettings
from tests.data.examples import prepared_text
from tests.models.examples import Fake

import numpy as np
import pytest

ZERO = """
    def log_probabilities(self, tokens):
        logs = super().log_probabilities(tokens)
        return np.where(np.arange(self.vocabulary_size) == 40, -np.inf, logs)  # a common letter

    def next_log_probabilities(self, tokens):
        return self.log_probabilities(tokens)[:, -1]

    def nll(self, tokens):
        logs = self.log_probabilities(tokens[:, :-1])
        return -np.take_along_axis(logs, tokens[:, 1:, None], -1)[..., 0]
"""


@pytest.mark.slow
def test_a_model_with_probabilities_of_0_does_not_end_the_ladder(checkout):
    source = (checkout / "examples/rungs/witten_bell.py").read_text() + ZERO
    (checkout / "zero.py").write_text(source.replace("WittenBell", "Zero"))
    checkout.compose(
        "+rungs.zero={kind: zero, watch: zero.py, order: 2}",
        "+mixture@mixtures.both=default",
        "mixtures.both.members=[zero, bigram]",
        "mixtures.both.weights_by=[zero]",
    ).succeeded()
    checkout.dvc("repro").succeeded()
    rows = {row["model"]: row for row in checkout.table() if row["split"] == "test"}
    assert rows["zero"]["nats_per_token"] == rows["zero"]["excess_nats_per_token"] == "inf"
    assert "finite" in rows["zero"]["audit"]
    assert float(rows["both"]["nats_per_token"]) <= float(rows["bigram"]["nats_per_token"]) + 0.01
    assert float(rows["both"]["excess_nats_per_token"]) < 5


class Words(GuestTokenizer):
    """Words and the spaces between them; an unknown word is an error."""

    name = "words"

    def __init__(self, text):
        self.words = sorted({*self.split(text)})
        super().__init__([len(each) for each in self.words], None)

    def split(self, text):
        return text.replace(" ", "\0 \0").split("\0")

    def located(self, text):
        words = self.split(text)
        starts = np.cumsum([0, *map(len, words)])[:-1]
        return [self.words.index(each) for each in words], starts.tolist()

    def _text_of(self, ids):
        return "".join(self.words[each] for each in ids)


def test_the_default_prompt_of_a_model_of_words_ends_with_a_word(tmp_path):
    text = "Once upon a time, lived unquestionably everybody. " * 40
    prepared = prepared_text(tmp_path, text, split=(0.5, 0.5, 0.0))
    words = Words(prepared.tokenizer.decode(prepared.val))
    model = Fake(len(words.words), logs=lambda tokens: np.log(np.ones((len(tokens), 9)) / 9))
    model.tokenizer, model.n_parameters = words, 1
    checkpoint: Any = SimpleNamespace(kind="callable")
    ladder = Ladder(prepared, {"words": Entry(model, "rungs/words", checkpoint)})
    settings = SampleSettings(
        prompt=None, tokens=3, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0,
        repetition_penalty=1.0, beams=None, samples=1, stop=[],
    )  # fmt: skip
    before = prepared.tokenizer.decode(prepared.val[:PROMPT_TOKENS])
    shown = ladder.samples(settings, 0)["words"]
    assert shown.startswith(before)
    assert len(before) < len(shown)
