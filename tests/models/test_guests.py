"""Guests: models of other libraries agree with these, and whatever is not one is rejected."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmladder.evaluation import score_models
from lmladder.evaluation.guests import convert, refer
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.models import KINDS, LanguageModel
from lmladder.models.arpa import Arpa
from lmladder.models.counts import CountTables
from lmladder.models.ngram import KneserNey
from lmladder.models.own import load_files
from lmladder.system.errors import InputError
from lmladder.training.checkpoint import Checkpoint
from tests.data.examples import prepared_text

import numpy as np
import pytest

SPACE, NEWLINE = "\u2581", "\u21b5"
TEXT = "the cat sat\nthe bat had a cat\na bad cat\n" * 40
ON_VAL = EvaluateSettings(["val"], "latest", 0.5, 64)
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


def guest(kind: str, path: Path, **settings: Any) -> Any:
    given = {"path": str(path), "watch": str(path), **settings}
    return KINDS.component(kind)(KINDS.model_settings(kind)(**given), 3)


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
    tmp_path: Path,
) -> None:
    text = prepared_text(tmp_path / "text", TEXT)
    characters = text.tokenizer.to_json()["characters"]
    assert characters[:2] == "\n "
    train = np.asarray(text.train, np.int64)
    model = KneserNey(CountTables.count(train, len(characters), 4), 4)
    words = [NEWLINE, SPACE, *characters[2:]]
    (tmp_path / "kn.arpa").write_text(arpa_of(model, train.tolist(), words), "utf-8")
    found = guest("arpa", tmp_path / "kn.arpa", newline=NEWLINE)
    assert (found.context_length, found.max_length) == (3, None)
    scores = score_models({"ours": model, "theirs": found}, text, ON_VAL)
    ours, theirs = scores["ours", "val"], scores["theirs", "val"]
    assert theirs.nats == pytest.approx(ours.nats, rel=1e-8)
    assert (theirs.tokens, theirs.bytes) == (ours.tokens, ours.bytes)
    np.testing.assert_allclose(theirs.block_losses, ours.block_losses, rtol=1e-8)
    tokens = found.tokenizer.encode("a bad cat\nthe")
    assert found.tokenizer.decode(tokens) == "a bad cat\nthe"
    assert found.tokenizer.n_bytes(tokens) == 13
    unseen = np.array([[5, 3, 3, 7, 2, 0, 1]])
    logs = found.log_probabilities(unseen)
    np.testing.assert_allclose(logs, model.log_probabilities(unseen), rtol=1e-7)
    np.testing.assert_allclose(np.exp(logs).sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_array_equal(found.next_log_probabilities(unseen), logs[:, -1])
    chosen = np.take_along_axis(logs[:, :-1], unseen[:, 1:, None], -1)[..., 0]
    np.testing.assert_array_equal(found.nll(unseen), -chosen)


@pytest.mark.parametrize("words", ["a b", "ab ba"])
def test_each_line_of_an_arpa_file_is_a_sentence(words: str, tmp_path: Path) -> None:
    a, b = words.split()
    path = tmp_path / "sentences.arpa"
    path.write_text(re.sub(r"\bb\b", b, re.sub(r"\ba\b", a, SENTENCES)))
    model = guest("arpa", path)
    assert model.tokenizer.words == ("\n", a, b, "<unk>")
    text = f"{a} {b}\n{a}\n\n" if len(a) > 1 else "ab\na\n\n"
    tokens = model.tokenizer.encode(text)
    assert model.tokenizer.decode(tokens) == text
    assert model.tokenizer.n_bytes(tokens) == len(text)
    # After no token; after a; after b, which is no history; and after a newline, which is <s>.
    of_a, of_b, of_start = [1 / 4, 1 / 8, 1 / 2, 1 / 8], [1 / 4] * 4, [1 / 6, 1 / 2, 1 / 6, 1 / 6]
    expected = [of_a, of_b, of_start, of_a, of_start, of_start]
    found = model.log_probabilities(tokens[None].astype(np.int64))[0]
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-9)
    for unknown in ("c", "<unk>", "\u00fc"):
        with pytest.raises(
            InputError, match=r"unknown .* at offset .* bits per byte are not known"
        ):
            model.tokenizer.encode(f"{text}{unknown}")
    if len(a) > 1:
        with pytest.raises(InputError, match=r"changes the text: ' ab' .* becomes 'ab'"):
            model.tokenizer.encode(f"{a}  {a}")


def test_kenlm_gives_a_sentence_the_same_probability(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="KenLM is a peer")
    (path := tmp_path / "sentences.arpa").write_text(SENTENCES)
    for sentence in ("a b", "b a a b", "a", ""):
        theirs = kenlm.Model(str(path)).score(sentence, bos=True, eos=True) * math.log(10)
        model = guest("arpa", path)
        tokens = model.tokenizer.encode("\n" + sentence.replace(" ", "") + "\n")
        assert -model.nll(tokens[None].astype(np.int64)).sum() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\\end\\", "", r"line \d+: the file ends before"),
        ("ngram 2=3", "ngram 2=4", r"line 18: expected n-grams .*2: 4}, got .*2: 3}"),
        ("a b\n", "a\n", "line 15: .*not an n-gram of order 2"),
        ("-0.3010299957\ta b", "-x\ta b", "line 15: could not convert"),
        ("-0.3010299957\ta b", "0.3\ta b", "line 15: not an n-gram"),
        ("a b\n", "a c\n", "'c' is not among the unigrams"),
        (SENTENCES, "not a model", "line 1: the file ends before"),
        (SENTENCES, "\0\ud800"[:1], "the file ends before"),
    ],
)
def test_a_malformed_arpa_file_is_rejected_with_its_line(
    old: str, new: str, reason: str, tmp_path: Path
) -> None:
    assert old in SENTENCES
    (path := tmp_path / "bad.arpa").write_text(SENTENCES.replace(old, new))
    with pytest.raises(InputError, match=f"bad.arpa.*{reason}"):
        guest("arpa", path)


def test_probabilities_of_an_arpa_file_that_do_not_sum_to_1_are_rejected(tmp_path: Path) -> None:
    (path := tmp_path / "bad.arpa").write_text(SENTENCES.replace("-0.3010299957\ta b", "-0.1\ta b"))
    model = guest("arpa", path)
    model.nll(np.array([[2, 2, 0]]))
    with pytest.raises(InputError, match=r"bad.arpa after 'a' must .* sum to 1, got 1.29"):
        model.nll(np.array([[1, 2]]))


# --- Functions ------------------------------------------------------------------------------------


def function(folder: Path, body: str, **settings: Any) -> Any:
    path = folder / "mine.py"
    path.write_text(f"import numpy as np\ndef f(tokens):\n    {body}\n")
    load_files([path])
    given = {"function": "f", "context_length": 2, "parameters": 1, **settings}
    return guest("callable", path, **given)


def test_a_function_receives_the_tokens_before_and_no_others(tmp_path: Path) -> None:
    body = "assert len(tokens) <= 2; p = np.full(3, .1); p[tokens.sum() % 3] = .8; return np.log(p)"
    model = function(tmp_path, body)
    tokens = np.array([[1, 2, 0, 2], [0, 0, 0, 1]])
    expected = -np.log([[0.1, 0.8, 0.8], [0.8, 0.8, 0.1]])  # of 2 after 1, 0 after 1 2, ...
    np.testing.assert_allclose(model.nll(tokens), expected, rtol=1e-12)
    logs = model.log_probabilities(tokens)
    assert logs.shape == (2, 4, 3)
    np.testing.assert_allclose(model.next_log_probabilities(tokens), logs[:, -1])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return 1.5", r"must be a distribution.* all 3 tokens, got float64 of shape \(\)"),
        ("return np.zeros(2)", r"got float64 of shape \(2,\); a loss alone cannot be checked"),
        ("return -np.ones(len(tokens))", r"shape \(1,\)"),
        ("return np.full(3, np.nan)", "sum to 1, got nan"),
        ("return np.full(3, 1 / 3)", "sum to 1, got 4.18"),
        ("return np.array(['a', 'b', 'c'])", "got <U1"),
        ("return 1 / 0", "failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_function_that_returns_no_distribution_is_rejected(
    body: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"f of .*mine.py.*{reason}"):
        function(tmp_path, body).nll(np.array([[0, 1]]))


def test_a_file_is_executed_only_if_a_user_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine.py does not define a function g"):
        function(tmp_path, "return 0", function="g")
    (path := tmp_path / "other.py").write_text("raise SystemExit('executed')")
    with pytest.raises(InputError, match=f"--module {path}"):
        guest("callable", path, function="f", context_length=1, parameters=1)


# --- Checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_has_the_digest_of_a_guest_and_fails_when_its_file_changes(
    tmp_path: Path,
) -> None:
    text = prepared_text(tmp_path / "text", "ab\nba\n" * 50)
    path = tmp_path / "model.arpa"
    path.write_text(SENTENCES)
    settings = KINDS.model_settings("arpa")(path=str(path), watch=str(path))
    facts = (text.tokenizer.to_json(), text.digest)
    origin = Checkpoint("g", "arpa", asdict(settings), 0, text.tokenizer.vocabulary_size, *facts)
    refer(origin, settings, text).save(tmp_path / "checkpoint")
    saved = Checkpoint.load(tmp_path / "checkpoint")
    assert {name: each.shape for name, each in saved.model.items()} == {"sha256": (32,)}
    assert isinstance(saved.restore_models()["g"], Arpa)
    assert saved.restore_tokenizer().encode("ab").tolist() == [1, 2]
    path.write_text(SENTENCES + "\n")
    with pytest.raises(InputError, match=r"model.arpa has changed since"):
        saved.restore_models()
    path.unlink()
    with pytest.raises(InputError, match=r"there is no file .*model.arpa"):
        saved.restore_models()


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
def test_each_byte_of_a_text_is_counted_once_in_other_tokens(
    tokenizer: str, tmp_path: Path
) -> None:
    text = prepared_text(tmp_path / "text", "\u00fcb \u732b\n\u732b \u00fcb\n" * 60, tokenizer)
    words = {"<s>": "-1\t<s>\t0"} | {
        w: f"-0.6020599913\t{w}" for w in ("</s>", "\u00fcb", "\u732b", "<unk>")
    }
    head = "\\data\\\nngram 1=5\n\n\\1-grams:\n"
    (path := tmp_path / "words.arpa").write_text(
        head + "\n".join(words.values()) + "\n\\end\\", "utf-8"
    )
    model = guest("arpa", path)
    own = convert(model.tokenizer, model.context_length, text, "val")
    whole = text.tokenizer.decode(text.val)
    assert model.tokenizer.decode(own.tokens) == whole
    before = text.tokenizer.decode(text.train)
    assert before.endswith(model.tokenizer.decode(own.preceding))
    (score,) = score_models({"words": model}, text, ON_VAL).values()
    assert score.nats == pytest.approx(len(own.tokens) * math.log(4))
    assert (score.tokens, score.bytes) == (len(own.tokens), len(whole.encode()))
    if tokenizer != "bpe":  # each word is at its first character or byte
        starts = [each.start() for each in re.finditer(r"\n|[^ \n]+", whole)]
        if tokenizer == "byte":
            starts = [len(whole[:each].encode()) for each in starts]
        assert own.positions.tolist() == starts


def test_a_text_that_lost_words_has_no_bits_per_byte_in_other_tokens(tmp_path: Path) -> None:
    text = prepared_text(tmp_path, TEXT, "word", vocabulary_size=260, unknown="unk")
    (path := tmp_path / "model.arpa").write_text(SENTENCES)
    model = guest("arpa", path)
    with pytest.raises(InputError, match="do not represent its text exactly"):
        convert(model.tokenizer, 1, text, "val")
