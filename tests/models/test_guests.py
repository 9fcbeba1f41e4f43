"""Guests: models of other programs agree with these, and whatever is not one is rejected.

The kind `callable` is built in; `arpa` is that of examples/rungs.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lmladder.evaluation import score_models
from lmladder.evaluation.guests import convert
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models import KINDS, LanguageModel, restore_models
from lmladder.models.counts import CountTables
from lmladder.models.guests import CallableSettings
from lmladder.models.ngram import KneserNey
from lmladder.models.own import load_files
from lmladder.system.errors import InputError
from lmladder.system.settings import validate
from lmladder.training.checkpoint import Checkpoint
from tests.data.examples import prepared_text
from tests.models.examples import RUNGS
from tests.models.test_contract import checkpoint

import numpy as np
import pytest

SPACE, NEWLINE = "\u2581", "\u21b5"
TEXT = "the cat sat\nthe bat had a cat\na bad cat\n" * 40
ON_VAL = EvaluateSettings(
    splits=["val"], checkpoint="latest", min_context=0.5, batch_tokens=64, excess_error=0.1
)
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


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ARPA file in the folder of the files that rungs read."""
    monkeypatch.chdir(tmp_path)
    load_files([RUNGS / "arpa.py"])
    (path := Path("models/guest.arpa")).parent.mkdir()
    path.write_text(SENTENCES)
    return path


def guest(kind: str, **given: Any) -> Any:
    settings: Any = validate(KINDS[kind].Settings, given)
    made: Any = KINDS[kind]
    return made(settings, 3, made.learn(settings, np.array([0]), 3))


def arpa(path: Path, content: str = SENTENCES, **given: Any) -> Any:
    path.write_text(content, "utf-8")
    return guest("arpa", **{"path": str(path), "space": SPACE, "newline": "</s>", **given})


def arpa_of(model: LanguageModel, text: Sequence[int], words: Sequence[str]) -> str:
    """Return the ARPA file of a count model, with the n-grams of a text.

    A backoff weight is what the n-grams after a history leave, over what they leave below.
    """
    n = model.context_length + 1
    occur = [{tuple(text[i : i + k]) for i in range(len(text) - k + 1)} for k in range(n + 2)]
    occur[1] = {(token,) for token in range(len(words))}

    def after(history: Sequence[int]) -> Any:
        return model.next_log_probabilities(np.array([history], np.int64))[0]

    sections = []
    for order in range(1, n + 1):
        lines = [f"\\{order}-grams:"]
        for gram in sorted(occur[order]):
            line = f"{after(gram[:-1])[gram[-1]] / math.log(10):.9f}\t"
            line += " ".join(words[token] for token in gram)
            rest = [i for i in range(len(words)) if (*gram, i) not in occur[order + 1]]
            if order < n and rest:
                left, below = (np.exp(after(each))[rest].sum() for each in (gram, gram[1:]))
                line += f"\t{math.log10(left / below):.9f}"
            lines.append(line)
        sections.append("\n".join(lines))
    head = [f"ngram {order}={len(occur[order])}" for order in range(1, n + 1)]
    return "\n\n".join(["\n".join(["\\data\\", *head]), *sections, "\\end\\\n"])


def test_an_arpa_file_of_characters_gives_the_scores_of_the_model_it_was_written_from(
    file: Path, tmp_path: Path
) -> None:
    text = prepared_text(tmp_path / "text", TEXT)
    characters = text.tokenizer.to_json()["characters"]
    train = np.asarray(text.train, np.int64)
    model = KneserNey(CountTables.count(train, len(characters), 4), 4)
    content = arpa_of(model, train.tolist(), [NEWLINE, SPACE, *characters[2:]])
    found = arpa(file, content, newline=NEWLINE)
    scores = score_models({"ours": model, "theirs": found}, text, ON_VAL)
    ours, theirs = scores["ours", "val"], scores["theirs", "val"]
    assert (theirs.tokens, theirs.bytes) == (ours.tokens, ours.bytes)
    np.testing.assert_allclose(theirs.block_losses, ours.block_losses, rtol=1e-8)
    unseen = np.array([[5, 3, 3, 7, 2, 0, 1]])
    logs = found.log_probabilities(unseen)
    np.testing.assert_allclose(logs, model.log_probabilities(unseen), rtol=1e-7)
    np.testing.assert_array_equal(found.next_log_probabilities(unseen), logs[:, -1])


@pytest.mark.parametrize("words", ["a b", "ab ba"])
def test_each_line_of_an_arpa_file_is_a_sentence(words: str, file: Path) -> None:
    a, b = words.split()
    model = arpa(file, re.sub(r"\bb\b", b, re.sub(r"\ba\b", a, SENTENCES)))
    text = f"{a} {b}\n{a}\n\n" if len(a) > 1 else "ab\na\n\n"
    tokens = model.tokenizer.encode(text)
    assert model.tokenizer.decode(tokens) == text
    # After no token; after a; after b, which is no history; and after a newline, which is <s>.
    of_a, of_b, of_start = [1 / 4, 1 / 8, 1 / 2, 1 / 8], [1 / 4] * 4, [1 / 6, 1 / 2, 1 / 6, 1 / 6]
    found = model.log_probabilities(tokens[None].astype(np.int64))[0]
    np.testing.assert_allclose(
        np.exp(found), [of_a, of_b, of_start, of_a, of_start, of_start], rtol=1e-9
    )
    for unknown in ("c", "<unk>", "\u00fc"):
        with pytest.raises(
            InputError, match=r"unknown .* at offset .* bits per byte are not known"
        ):
            model.tokenizer.encode(f"{text}{unknown}")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\\end\\", "", r"line \d+: the file ends before"),
        ("ngram 2=3", "ngram 2=4", r"line 18: expected n-grams .*2: 4}, got .*2: 3}"),
        ("a b\n", "a\n", "line 15: .*not an n-gram of order 2"),
        ("-0.3010299957\ta b", "-x\ta b", "line 15: could not convert"),
        ("a b\n", "a c\n", "'c' is not among the unigrams"),
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
    given = {"path": str(file), "space": SPACE, "newline": "</s>"}
    settings = validate(KINDS["arpa"].Settings, given)
    prepared: Any = SimpleNamespace(train=np.zeros(3, np.uint8))
    start = checkpoint("arpa", settings, {})
    KINDS["arpa"].fit(start, settings, prepared, tmp_path).save(tmp_path / "checkpoint")
    saved = Checkpoint.load(tmp_path / "checkpoint")
    assert {name: each.shape for name, each in saved.model.items()} == {"sha256": (32,)}
    assert len(restore_models(saved)) == 1
    file.write_text(SENTENCES + "\n")
    with pytest.raises(InputError, match=r"guest.arpa has changed since"):
        restore_models(saved)
    file.unlink()
    with pytest.raises(InputError, match=r"there is no file .*guest.arpa"):
        restore_models(saved)
    with pytest.raises(InputError, match=r"other.arpa must be in the folder models"):
        arpa(tmp_path / "other.arpa")


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
def test_each_byte_of_a_text_is_counted_once_in_other_tokens(
    tokenizer: str, file: Path, tmp_path: Path
) -> None:
    text = prepared_text(tmp_path / "text", "\u00fcb \u732b\n\u732b \u00fcb\n" * 60, tokenizer)
    words = ["-1\t<s>\t0", *(f"-0.6020599913\t{w}" for w in ("</s>", "\u00fcb", "\u732b", "<unk>"))]
    model = arpa(file, "\\data\\\nngram 1=5\n\n\\1-grams:\n" + "\n".join(words) + "\n\\end\\")
    own = convert(model.tokenizer, model.context_length, text, "val")
    whole = text.tokenizer.decode(text.val)
    assert model.tokenizer.decode(own.tokens) == whole
    assert text.tokenizer.decode(text.train).endswith(model.tokenizer.decode(own.preceding))
    (score,) = score_models({"words": model}, text, ON_VAL).values()
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
    text = prepared_text(tmp_path, TEXT, "word", vocabulary_size=260, unknown="unk")
    with pytest.raises(InputError, match="do not represent its text exactly"):
        convert(arpa(file).tokenizer, 1, text, "val")
    with pytest.raises(InputError, match=r"changes the text: ' ab' .* becomes 'ab'"):
        arpa(file, re.sub(r"\ba\b", "ab", SENTENCES)).tokenizer.encode("ab  ab")


# --- Functions ------------------------------------------------------------------------------------


def function(body: str, **given: Any) -> Any:
    (path := Path("mine.py")).write_text(f"import numpy as np\ndef f(tokens):\n    {body}\n")
    load_files([path])
    options = {"function": "f", "context_length": 2, "parameters": 1, **given}
    return guest("callable", watch=str(path), **options)


def test_a_function_receives_the_tokens_before_and_no_others() -> None:
    body = "assert len(tokens) <= 2; p = np.full(3, .1); p[tokens.sum() % 3] = .8; return np.log(p)"
    model = function(body)
    tokens = np.array([[1, 2, 0, 2], [0, 0, 0, 1]])
    expected = -np.log([[0.1, 0.8, 0.8], [0.8, 0.8, 0.1]])  # of 2 after 1, 0 after 1 2, ...
    np.testing.assert_allclose(model.nll(tokens), expected, rtol=1e-12)
    logs = model.log_probabilities(tokens)
    np.testing.assert_allclose(model.next_log_probabilities(tokens), logs[:, -1])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return 1.5", r"must be a distribution.* all 3 tokens, got float64 of shape \(\)"),
        ("return np.zeros(2)", r"got float64 of shape \(2,\); a loss alone cannot be checked"),
        ("return np.full(3, np.nan)", "sum to 1, got nan"),
        ("return np.full(3, 1 / 3)", "sum to 1, got 4.18"),
        ("return np.array(['a', 'b', 'c'])", "got <U1"),
        ("return 1 / 0", "failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_function_that_returns_no_distribution_is_rejected(body: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"f of .*mine.py.*{reason}"):
        function(body).nll(np.array([[0, 1]]))


def test_a_file_is_executed_only_if_a_user_names_it() -> None:
    with pytest.raises(InputError, match=r"mine.py does not define a function g"):
        function("return 0", function="g")
    Path("other.py").write_text("raise SystemExit('executed')")
    with pytest.raises(InputError, match=r"--module other.py"):
        guest("callable", watch="other.py", function="f", context_length=1, parameters=1)
    settings = CallableSettings(watch="other.py", function="f", context_length=1, parameters=1)
    saved = checkpoint("callable", settings, {})
    with pytest.raises(InputError, match=r"--module other.py"):
        restore_models(saved)
