"""Numbers like those of a real run, a table with hostile names, and a page; made once."""

import math

from lmladder.data import CorpusFacts, SplitFacts
from lmladder.evaluation import BINS, ContextLosses, Reliability, Score
from lmladder.evaluation.truth import Excess
from lmladder.reports.attention import Attention
from lmladder.reports.detail import calibration_table, excess_table, position_table
from lmladder.reports.figures.loss import loss_curves
from lmladder.reports.html import Passage, render_report
from lmladder.reports.table import Model, Row, ladder_table, models_of, to_csv
from lmladder.system.streams import stream

import numpy as np
import pandas as pd
import pytest

NATS = {
    "transformer": 0.7,
    "oracle": 0.6123456789,
    "unigram": 2.9,
    "mlp": 0.9,
    "kneser_ney_5": 0.83,
    "kneser_ney_3": 1.3,
    "bigram": 2.2,
    "uniform": math.log(256),
}
SEEDS = (0.7, 0.72, 0.77)  # nats per token of the Transformer, with three seeds
MAPS = {"Pointer": np.array([0.0, 0.2, 0.8]), "Layer 1, head 1": np.array([0.5, 0.25, 0.25])}
KINDS = {"oracle": "oracle", "mlp": "mlp", "transformer": "transformer"}  # the others are counts


def rows(split: str, tokens: int, nats_per_token: dict[str, float]) -> list[Row]:
    return [
        Row(
            model=model,
            split=split,
            score=Score(tokens=tokens, bytes=tokens + 7, nats=nats * tokens),
            parameters=None if model == "oracle" else 0 if model == "uniform" else 1_234_567,
            steps=3000 if model in ("mlp", "transformer") else None,
            standard_error=0.0042 if model == "oracle" else None,
            kind=KINDS.get(model, "counts"),
            rung=KINDS.get(model, "bigram"),
        )
        for model, nats in nats_per_token.items()
    ]


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    return ladder_table([*rows("test", 98_765, NATS), *rows("val", 99_999, NATS)])


@pytest.fixture(scope="session")
def models(table: pd.DataFrame) -> dict[str, Model]:
    return models_of(table)


@pytest.fixture(scope="session")
def history() -> pd.DataFrame:
    steps = np.arange(0, 1001, 50)
    val_loss = 0.7 + 3.5 / (1 + steps / 60)
    train_loss = np.where(steps > 0, val_loss - 0.02, np.nan)
    return pd.DataFrame({"tokens": steps * 4096, "train_loss": train_loss, "val_loss": val_loss})


NEURAL_AND_COUNTS = ("unigram", "bigram", "kneser_ney_3", "kneser_ney_5", "mlp", "transformer")


@pytest.fixture(scope="session")
def positions() -> pd.DataFrame:
    """Losses that fall with the context; the MLP reads eight tokens at most."""
    falling = np.linspace(2.0, 0.5, 64)
    losses = {
        model: falling + number / 10 + stream(number, "rows").normal(0, 0.2, size=(20, 64))
        for number, model in enumerate(reversed(NEURAL_AND_COUNTS))
    }
    losses["mlp"] = losses["mlp"][:, :8]
    return position_table(
        {model: ContextLosses.of_sequences(losses[model]) for model in NEURAL_AND_COUNTS}
    )


@pytest.fixture(scope="session")
def calibration() -> pd.DataFrame:
    """The confidence of the unigram is constant, the MLP is underconfident, the others right."""
    rng = stream(0, "calibration")
    confidence = {model: rng.uniform(0.2, 1, 5000) for model in NEURAL_AND_COUNTS}
    confidence["unigram"] = np.full(5000, 0.18)
    return calibration_table(
        {
            model: Reliability.of(each, rng.random(5000) < each ** (0.5 if model == "mlp" else 1))
            for model, each in confidence.items()
        }
    )


@pytest.fixture(scope="session")
def excess() -> pd.DataFrame:
    """The excess of all models; a recall is harder at a greater distance."""
    rows = []
    for number, model in enumerate(reversed(NEURAL_AND_COUNTS), 1):
        groups = [("all", None, None, 1000, 0.1), ("choice", None, None, 100, 0.2)]
        groups += [("forced", None, None, 700, 0.01), ("recall", None, None, 200, 0.365)]
        groups += [("distance", 2**k, 2 ** (k + 1) - 1, 40, 0.1 + k / 10) for k in range(3, 8)]
        for by, first, last, tokens, nats in groups:
            rows.append(Excess(model, by, first, last, tokens, number * nats, 0.01, 0.8, 0.7))
        for k in (3, BINS - 1):
            low, middle, high = (np.array([0, 0.5, 1]) + k) / BINS
            rows.append(Excess(model, "confidence", low, high, 500, 0.1, 0.01, middle, low))
    return excess_table(rows)


@pytest.fixture(scope="session")
def corpus() -> CorpusFacts:
    splits = {
        name: SplitFacts(documents=10, tokens=1000, bytes=1100, sha256="0" * 64, oracle=None)
        for name in ("train", "val", "test")
    }
    return CorpusFacts(
        name="tales",
        settings={},
        documents=30,
        characters=3210,
        bytes=3300,
        vocabulary_size=64,
        tokenizer="char",
        digest="0" * 64,
        splits=splits,
        grammar=None,
    )


@pytest.fixture(scope="session")
def report(table, models, history, corpus):
    """Return a function that renders the page, with some arguments changed."""
    arguments = {
        "title": "The ladder of tales",
        "summary": "It went well.",
        "table": table,
        "figures": [loss_curves(models, {"mlp": history}, {"unigram": 2.9})],
        "samples": {"transformer": "Once upon a time", "bigram": "Onthe a\x00b"},
        "passage": Passage(["O", "n", "\n"], {"transformer": [0.1, 0.7, 10], "mlp": [2, 3.5, 0]}),
        "attention": Attention("Transformer", ["O", "n", "c", "e"], MAPS, 0.625),
        "corpus": corpus,
        "seeds": [0, 0],
        "config": "seed: 0\n",
    }
    return lambda **changes: render_report(**(arguments | changes))


@pytest.fixture
def results(tmp_path, table):
    """Two folders: of three seeds, and of one seed and one split."""
    for name, share, seeds in (("first", 0.8, SEEDS), ("second", 0.9, SEEDS[:1])):
        for seed, nats in enumerate(seeds):
            changed = table.copy() if name == "first" else table[table["split"] == "val"].copy()
            changed.loc[changed["model"] == "transformer", "nats_per_token"] = nats
            changed.loc[changed["model"] == "transformer", "crop_nats_per_token"] = nats + 0.1
            folder = tmp_path / "results" / name / f"seed{seed}"
            (folder / "outputs/evaluate").mkdir(parents=True)
            (folder / "params.yaml").write_text(f"data: {{split: {{train: {share}}}}}")
            (folder / "outputs/evaluate/perplexity.csv").write_text(to_csv(changed))
    return tmp_path / "results"
