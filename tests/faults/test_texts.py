"""Odd texts through all stages: each gives a whole ladder, or is rejected in one line."""

import random
from pathlib import Path

from lmladder import reports
from lmladder.config import Config, from_mapping
from lmladder.system.errors import InputError
from stages import compose, ladder

import pytest
import yaml

SMALLEST = (
    "experiment=smoke",
    "data=file",
    "mlp.context_length=4",
    "mlp.training.sequence_length=4",
    "mlp.training.steps=2",
    "mlp.schedule.warmup_steps=0",
    "transformer.d_model=4",
    "transformer.context_length=4",
    "transformer.training.steps=2",
    "transformer.schedule.warmup_steps=0",
    "sample.tokens=3",
)
ONE_TOKEN = (
    "mlp.context_length=1",
    "mlp.training.sequence_length=1",
    "transformer.context_length=1",
)
ONE_SEQUENCE = "data.split={train:0.4,val:0.3,test:0.3}"

# What was found by trying some 200 pairs of a text and settings.
ODD = {
    "one character": (b"a" * 2000, ()),
    "one character, one sequence, one token in test": (
        b"a" * 6,
        (*ONE_TOKEN, "data.split={train:0.4,val:0.4,test:0.2}"),
    ),
    "one sequence": (b"abcdefg", (*ONE_TOKEN, ONE_SEQUENCE)),
    "learnt without a loss, in float32": (
        b"ab" * 100,
        (*ONE_TOKEN, "mlp.training.steps=300", "mlp.optimizer.learning_rate=0.5"),
    ),
    "a split with characters of its own": (b"a" * 1600 + b"b" * 200 + b"c" * 200, ()),
    "any bytes": (random.Random(0).randbytes(3000), ("tokenizer=byte",)),
}
MORE = {
    "no test text": (b"a" * 2000, ("data.split={train:0.9,val:0.1,test:0.0}",)),
    "no smoothing": (b"a" * 2000, ("bigram.kneser_ney_orders=[]", "bigram.add_k=1e-300")),
    "a recurrent network": (b"a" * 2000, ("mlp=gru",)),
    "in beams": (b"a" * 2000, ("sample.beams=2", "sample.samples=2")),
    "the best": (b"a" * 2000, ("evaluate.checkpoint=best", "evaluate.splits=[test]")),
    "invisible": ("\ufeff\u200b".encode() * 500, ()),
    "right to left": ("\u202e\u05d0".encode() * 500, ()),
    "controls": (b"]]>\x0b\x0c\x1b[31m" * 200, ()),
    "markup": (b"<b>&amp;\"'</b>{{7*7}}{%raw%}$x_1$\\frac" * 60, ()),
    "headings of samples": (b"== transformer ==\n\n== uniform ==\n" * 60, ()),
    "lines": (b"a\n" * 1000, ("data.documents=lines",)),
    "words": (b"word " * 400, ("tokenizer=word",)),
    "merged": (b"word and other " * 300, ("tokenizer=bpe",)),
}


def run_ladder(folder: Path, text: bytes, settings: tuple[str, ...]) -> Path:
    """Run all stages in `folder`, in this process; return the folder of `evaluate`."""
    path = folder / "text"
    path.write_bytes(text)
    composed = compose.composition([*SMALLEST, f"data.path='{path}'", *settings])
    config = from_mapping(Config, yaml.safe_load(composed))
    for name, stage in ladder.PARTS.items():
        stage.carry_out(config, folder / name, folder)
    return folder / "evaluate"


def require_whole(folder: Path) -> None:
    """Assert that all tables of `evaluate` can be read and hold no negative loss."""
    table = reports.read_csv(folder / "perplexity.csv")
    assert table["perplexity"].min() >= 1
    assert {"unigram", "transformer"} <= set(reports.read_positions(folder / "position.csv"))
    reports.read_calibration(folder / "calibration.csv")
    for path in folder.glob("*.csv"):
        assert "-0.0" not in path.read_text(), path
    assert (folder / "report.html").read_text().endswith("</html>")
    assert len(list(folder.glob("*.svg"))) == 5


@pytest.mark.parametrize("name", ODD)
def test_an_odd_text_gives_a_whole_ladder(name: str, tmp_path: Path) -> None:
    require_whole(run_ladder(tmp_path, *ODD[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_more_odd_texts_give_a_whole_ladder(name: str, tmp_path: Path) -> None:
    require_whole(run_ladder(tmp_path, *MORE[name]))


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["char", "byte", "word", "bpe"])
def test_random_texts_give_a_whole_ladder_or_are_rejected_in_one_line(
    tokenizer: str, tmp_path: Path
) -> None:
    draw = random.Random(tokenizer)
    alphabets = ("a", "ab", " a", "a\n", "\0", "é", "\ufeff", "😀", "\r\n", "\x1e\t ", "a-'.é 😀")
    rejections = []
    for trial in range(12):
        length = draw.choice((1, 5, 20, 60, 400))
        text = "".join(draw.choices(draw.choice(alphabets), k=length)).encode()
        settings = (
            f"tokenizer={tokenizer}",
            f"data.documents={draw.choice(('whole', 'lines', 'paragraphs'))}",
            *draw.choice(((), ONE_TOKEN, (*ONE_TOKEN, ONE_SEQUENCE))),
        )
        folder = tmp_path / str(trial)
        folder.mkdir()
        try:
            require_whole(run_ladder(folder, text, settings))
        except InputError as error:
            rejections.append((str(error), (folder / "bigram").exists()))
    assert len(rejections) < 12
    assert not [line for line, late in rejections if late or "\n" in line]
