"""Odd texts through all stages: each gives a whole ladder, or is rejected in one line."""

import random

from lmladder.config.composing import composed, validated
from lmladder.evaluation import read_record
from lmladder.pipeline.ladder import ladder
from lmladder.pipeline.running import run
from lmladder.reports.table import read_csv
from tests.pipeline.conftest import PROJECT

import pytest

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

# Texts and settings that failed once, or might.
ODD = {
    "a loss of 0": (
        *(b"ab" * 100, *ONE_TOKEN),
        *("mlp.training.steps=300", "mlp.optimizer.learning_rate=0.5"),
    ),
    "any bytes": (random.Random(0).randbytes(3000), "tokenizer=byte"),
}
MORE = {
    "one test token": (b"a" * 6, *ONE_TOKEN, "data.split={train:0.4,val:0.4,test:0.2}"),
    "one sequence": (b"abcdefg", *ONE_TOKEN, "data.split={train:0.4,val:0.3,test:0.3}"),
    "splits with other characters": (b"a" * 1600 + b"b" * 200 + b"c" * 200,),
    "no test text": (b"a" * 2000, "data.split={train:0.9,val:0.1,test:0.0}"),
    "no smoothing": (b"a" * 2000, "bigram.kneser_ney_orders=[]", "bigram.add_k=1e-300"),
    "invisible": ("\ufeff\u200b".encode() * 500,),
    "controls, markup and headings of samples": (
        '\u202e\u05d0]]>\x0b\x1b[31m<b>&amp;"</b>{{7*7}}$x_1$\\frac\n== mlp ==\n\n'.encode() * 60,
    ),
}


def require_whole_ladder(folder, text, *settings):
    """Run all stages in `folder`; assert that all tables can be read, without a negative loss."""
    path = folder / "text"
    path.write_bytes(text)
    overrides = [*SMALLEST, f"data.path='{path}'", *settings]
    run(ladder, validated(composed(PROJECT / "conf", overrides)), folder, folder)
    out = folder / "evaluate"
    table = read_csv(out / "perplexity.csv")
    assert table["perplexity"].min() >= 1
    assert {"unigram", "transformer"} <= {each.name for each in read_record(out).models}
    for path in out.glob("*.csv"):
        assert "-0.0" not in path.read_text(), path
    assert (out / "report.html").read_text().endswith("</html>")
    assert len(list(out.glob("*.svg"))) == 4


@pytest.mark.parametrize(
    "name", [*ODD, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
)
def test_an_odd_text_gives_a_whole_ladder(name, tmp_path):
    require_whole_ladder(tmp_path, *(ODD | MORE)[name])
