"""Guests: models of other programs agree with these, and whatever is not one is rejected.

The kind `callable` is built in; `arpa` is that of examples/rungs.
"""

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lmladder.evaluation import score_models
from lmladder.evaluation.guests import convert
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models import KINDS, restore_models
from lmladder.models.own import load_files
from lmladder.system.errors import InputError
from lmladder.system.settings import validate
from lmladder.training.checkpoint import Checkpoint
from tests.data.examples import prepared_text
from tests.models.examples import RUNGS
from tests.models.test_contract import checkpoint

import numpy as np
import pytest

SYMBOLS = {"space": "\u2581", "newline": "</s>"}
SENTENCES = r"""
\data\
ngram 1=5
ngram 2=3

\1-grams:
-99	<s>	-0.1760912591
-0.6020599913	</s>
-0.6020599913	a	-0.3010299957
-0.6020599913	b
-0.6020599913	<unk>

\2-grams:
-0.3010299957	<s> a
-0.3010299957	a b
-0.6020599913	a </s>

\end\
"""
WORDS = "\\data\\\nngram 1=5\n\n\\1-grams:\n-1\t<s>\t0\n" + "".join(
    f"-0.6020599913\t{word}\n" for word in ("</s>", "\u00fcb", "\u732b", "<unk>", "\\end\\")
).replace("-0.6020599913\t\\", "\\")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of an ARPA file in the folder of the files that rungs read."""
    monkeypatch.chdir(tmp_path)
    load_files([RUNGS / "arpa.py"])
    (path := Path("models/guest.arpa")).parent.mkdir()
    return path


def guest(kind: str, **given: Any) -> Any:
    settings: Any = validate(KINDS[kind].Settings, given)
    made: Any = KINDS[kind]
    return made(settings, 3, made.learn(settings, np.array([0]), 3))


def arpa(path: Path, content: str = SENTENCES) -> Any:
    path.write_text(content, "utf-8")
    return guest("arpa", path=str(path), **SYMBOLS)


@pytest.mark.parametrize("words", ["a b", "ab ba"])
def test_an_arpa_file_has_backoff_probabilities_and_each_line_is_a_sentence(
    words: str, file: Path
) -> None:
    a, b = words.split()
    model = arpa(file, re.sub(r"\bb\b", b, re.sub(r"\ba\b", a, SENTENCES)))
    text = f"{a} {b}\n{a}\n\n" if len(a) > 1 else "ab\na\n\n"
    tokens = model.tokenizer.encode(text)
    assert model.tokenizer.decode(tokens) == text
    # After no token; after a; after b, which is no history; and after a newline, which is <s>.
    of_a, of_b, of_start = [1 / 4, 1 / 8, 1 / 2, 1 / 8], [1 / 4] * 4, [1 / 6, 1 / 2, 1 / 6, 1 / 6]
    expected = np.array([of_a, of_b, of_start, of_a, of_start, of_start])
    ids = tokens[None].astype(np.int64)
    np.testing.assert_allclose(np.exp(model.log_probabilities(ids)[0]), expected, rtol=1e-9)
    chosen = -np.log(expected[np.arange(5), ids[0, 1:]])
    np.testing.assert_allclose(model.nll(ids)[0], chosen, rtol=1e-8)
    for unknown in ("c", "<unk>", "\u00fc"):
        with pytest.raises(InputError, match=r"unknown .* at offset .* bits per byte are not"):
            model.tokenizer.encode(f"{text}{unknown}")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\\end\\", "", r"line \d+: the file ends before"),
        ("ngram 2=3", "ngram 2=4", r"line 18: expected n-grams .*2: 4}, got .*2: 3}"),
        ("-0.3010299957\ta b", "-0.1\ta b", "after 'a' must .* sum to 1, got 1.29"),
    ],
)
def test_an_arpa_file_that_is_no_distribution_is_rejected_with_its_line(
    old: str, new: str, reason: str, file: Path
) -> None:
    with pytest.raises(InputError, match=f"guest.arpa.*{reason}"):
        arpa(file, SENTENCES.replace(old, new)).nll(np.array([[1, 2]]))


def test_a_checkpoint_has_the_digest_of_files_and_fails_when_they_change(
    file: Path, tmp_path: Path
) -> None:
    file.write_text(SENTENCES)
    settings = validate(KINDS["arpa"].Settings, {"path": str(file), **SYMBOLS})
    prepared: Any = SimpleNamespace(train=np.zeros(3, np.uint8))
    start = checkpoint("arpa", settings, {})
    KINDS["arpa"].fit(start, settings, prepared, tmp_path).save(tmp_path / "checkpoint")
    saved = Checkpoint.load(tmp_path / "checkpoint")
    assert len(restore_models(saved)) == 1
    file.write_text(SENTENCES + "\n")
    with pytest.raises(InputError, match=r"guest.arpa has changed since"):
        restore_models(saved)


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
def test_each_byte_of_a_text_is_counted_once_in_other_tokens(
    tokenizer: str, file: Path, tmp_path: Path
) -> None:
    text = prepared_text(tmp_path / "text", "\u00fcb \u732b\n\u732b \u00fcb\n" * 60, tokenizer)
    model = arpa(file, WORDS)
    own = convert(model.tokenizer, model.context_length, text, "val")
    whole = text.tokenizer.decode(text.val)
    assert model.tokenizer.decode(own.tokens) == whole
    assert text.tokenizer.decode(text.train).endswith(model.tokenizer.decode(own.preceding))
    on_val = EvaluateSettings(
        splits=["val"], checkpoint="latest", min_context=0.5, batch_tokens=64, excess_error=0.1
    )
    (score,) = score_models({"words": model}, text, on_val).values()
    assert score.nats == pytest.approx(len(own.tokens) * math.log(4))
    assert (score.tokens, score.bytes) == (len(own.tokens), len(whole.encode()))
    if tokenizer != "bpe":  # each word is at its first character or byte
        starts = [each.start() for each in re.finditer(r"\n|[^ \n]+", whole)]
        if tokenizer == "byte":
            starts = [len(whole[:each].encode()) for each in starts]
        assert own.positions.tolist() == starts


def test_a_text_that_lost_words_has_no_bits_per_byte_in_other_tokens(
    file: Path, tmp_path: Path
) -> None:
    words = "the cat sat\nthe bat had a cat\na bad cat\n" * 40
    text = prepared_text(tmp_path, words, "word", vocabulary_size=260, unknown="unk")
    with pytest.raises(InputError, match="do not represent its text exactly"):
        convert(arpa(file).tokenizer, 1, text, "val")
    with pytest.raises(InputError, match=r"changes the text: ' \u00fcb' .* becomes '\u00fcb'"):
        arpa(file, WORDS).tokenizer.encode("\u00fcb  \u00fcb")


def function(body: str, **given: Any) -> Any:
    (path := Path("mine.py")).write_text(f"import numpy as np\ndef f(tokens):\n    {body}\n")
    load_files([path])
    options = {"function": "f", "context_length": 2, "parameters": 1, **given}
    return guest("callable", watch=str(path), **options)


def test_a_function_receives_the_tokens_before_and_no_others() -> None:
    body = "assert len(tokens) <= 2; p = np.full(3, .1); p[tokens.sum() % 3] = .8; return np.log(p)"
    expected = -np.log([[0.1, 0.8, 0.8], [0.8, 0.8, 0.1]])  # of 2 after 1, 0 after 1 2, ...
    tokens = np.array([[1, 2, 0, 2], [0, 0, 0, 1]])
    np.testing.assert_allclose(function(body).nll(tokens), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return np.zeros(2)", r"got float64 of shape \(2,\); a loss alone cannot be checked"),
        ("return np.full(3, np.nan)", "sum to 1, got nan"),
        ("return 1 / 0", "failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_function_that_returns_no_distribution_is_rejected(body: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"f of .*mine.py.*{reason}"):
        function(body).nll(np.array([[0, 1]]))
