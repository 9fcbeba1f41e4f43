"""Tiny runs, and the text that they were trained on; trained once, and copied to be changed."""

import json
import shutil
import sys
from dataclasses import replace
from typing import NamedTuple

from lmladder import cli, environment, kernels
from lmladder.checkpoint import Checkpoint
from lmladder.config import BigramConfig, TokenizerConfig
from lmladder.rung import begin, count, first_checkpoint
from lmladder.stage import ENVIRONMENT
from lmladder.text import LongText, Prepared, write_prepared
from lmladder.training import LATEST, discard_unfinished, train
from tests.test_training import RUNGS

import pytest

CHAR = TokenizerConfig("char", None, None)
SPLIT = {"train": 0.6, "val": 0.3, "test": 0.1}
SEED = 3
CODE = "0123456789abcdef"  # the digest of the code that trains; to find it out takes a process


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self):
        return self.stdout.splitlines()

    @property
    def error(self):
        """The line that tells why it failed; the progress of training stands before it."""
        last = self.stderr.splitlines()[-1]
        assert last.startswith("error: ")
        return last


def configuration(kind, **training):
    """That of a rung; `training` are settings of it."""
    if kind == "bigram":
        return BigramConfig(add_k=0.1, kneser_ney_orders=[3])
    given = {"init_from": None, "watch": "data/tales.yaml"} if kind == "transformer" else {}
    rung = RUNGS[kind]
    return replace(rung, training=replace(rung.training, **training), **given)


def write_text(folder, text):
    corpus = LongText.of("letters", text)
    write_prepared(folder, corpus, tokenizer=CHAR, **SPLIT, seed=0, settings={})
    return Prepared.open(folder)


def write_run(folder, kind, prepared, config=None, *, code=CODE):
    """What the stage of a rung leaves, as far as it can be verified."""
    folder.mkdir(parents=True, exist_ok=True)
    config = config or configuration(kind)
    origin = replace(first_checkpoint(kind, config, SEED, prepared), code_digest=code)
    if kind == "bigram":
        count(origin, config, prepared).save(folder / LATEST)
    else:
        train(begin(origin, config, prepared, folder))
        discard_unfinished(folder)
    (folder / ENVIRONMENT).write_text(json.dumps(environment.describe()))
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """`prepare`, and a finished run of each kind; read only."""
    folder = tmp_path_factory.mktemp("finished")
    prepared = write_text(folder / "prepare", "a bad head had a bed " * 30)
    for kind in ("bigram", "mlp", "transformer"):
        write_run(folder / kind, kind, prepared)
    return folder


@pytest.fixture
def runs(finished, tmp_path):
    """A copy of `finished` that the test may change."""
    return shutil.copytree(finished, tmp_path / "runs")


@pytest.fixture
def change():
    """Give a run other contents, sealed again, as only somebody who wants to could."""

    def to(folder, name=LATEST, **fields):
        replace(Checkpoint.load(folder / name), **fields).save(folder / name)

    return to


@pytest.fixture
def command(monkeypatch, capsys):
    """`lmladder verify` in this process, with as many threads as before."""
    threads = kernels.threads()
    monkeypatch.setattr("lmladder.verification.runs.training_code_digest", lambda: CODE)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmladder", "verify", *map(str, arguments)])
        capsys.readouterr()  # what came before is not of this command
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Done(end.value.code, *capsys.readouterr())

    yield run
    kernels.set_threads(threads)
    kernels.select("numba")


@pytest.fixture
def verify(command, runs):
    """The same for runs in `runs`, on the text beside them."""

    def run(*names, **options):
        more = [
            part
            for name, value in options.items()
            for part in ([f"--{name}"] if value is True else [f"--{name}", value])
        ]
        return command(*(runs / name for name in names), *more)

    return run
