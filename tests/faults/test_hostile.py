"""Files that were written to do harm: rejected before they take memory or time."""

import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from lmladder.experiments import find_runs
from lmladder.experiments.settings import Loader
from lmladder.interop import read_model
from lmladder.system.errors import InputError
from lmladder.system.sealing import seal
from lmladder.training.checkpoint import SCHEMA, Checkpoint
from tests.experiments.folders import write_run
from tests.faults.examples import (
    MLP,
    TRANSFORMER,
    rejection_without_memory,
    small_checkpoint,
    small_model,
)

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
HUGE = 2**31 - 1


def test_only_one_module_could_run_a_program_that_is_in_a_file():
    rules = "S102,S301,S302,S307,S403,S602,S604,S605"  # exec, pickle, eval, shells
    options = f"-m ruff check --isolated --preview --ignore-noqa --select {rules} src stages"
    # It executes the file of a kind of one's own, which only an option or `watch` may name.
    options += " --per-file-ignores src/lmladder/models/own.py:S102"
    command = [sys.executable, *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert issubclass(Loader, (yaml.SafeLoader, yaml.CSafeLoader))
    loads = re.compile(
        r"allow_pickle=True|torch\.load|(import|from) (joblib|dill)\b"
        r"|yaml\.(unsafe_load|full_load|load\((?!.*, Loader\)))"
    )
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        assert not loads.search(path.read_text()), path


def test_a_message_is_one_line_and_has_no_control_codes_of_a_terminal(tmp_path):
    message = str(InputError("naïve\n\x1b]0;owned\a \udcff\u202e"))
    assert message == r"naïve\n\x1b]0;owned\x07 \udcff\u202e"
    path = tmp_path / "checkpoint.safetensors"
    save_file({}, path, metadata={"lmladder": seal({"schema": SCHEMA, "\x1b[31m\n": 1})})
    with pytest.raises(InputError, match="is damaged") as caught:
        Checkpoint.load(path)
    assert str(caught.value).isprintable()


# --- Sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        # A file of these weights may have each of these sizes alone, but not two of them together.
        ("mlp", {"context_length": 30_000, "embedding_size": 30_000}),
        ("transformer", {"context_length": 30_000, "d_model": 30_000}),
        ("transformer", {"feed_forward_factor": 1e9}),
    ],
    ids=str,
)
def test_sizes_in_a_checkpoint_take_no_more_memory_than_its_weights(kind, asked):
    config = asdict(TRANSFORMER if kind == "transformer" else MLP) | asked
    weights = {"tokens.weight": np.zeros(30_000, np.float32)}
    checkpoint = replace(small_checkpoint(), kind=kind, config=config, model=weights)
    message = rejection_without_memory(lambda _: checkpoint.restore_models(), None)
    assert "more than" in message or "must be at most" in message


def test_a_huge_number_of_layers_takes_no_time(tmp_path):
    path = small_model(tmp_path / "tiny.json", "tiny-lm")
    fields = json.loads(path.read_text()) | {"n_layers": HUGE}
    fields["weights"][f"blocks.{HUGE - 1}.norm1.weight"] = [1.0, 1.0]
    path.write_text(json.dumps(fields))
    message = rejection_without_memory(read_model, path)
    assert "too few for its layers" in message


TENSOR = '"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,4]}'
HEADERS = {
    "a tensor twice": f"{{{TENSOR % 1},{TENSOR % 2**60}}}",
    "a shape twice": f"{{{TENSOR % 1}}}".replace('"shape"', f'"shape":[{2**60}],"shape"'),
    "a huge shape": f"{{{TENSOR % 2**60}}}",
    "many levels": '{"a":' * 100_000,
}


@pytest.mark.parametrize("case", HEADERS)
def test_an_ambiguous_or_false_header_of_safetensors_is_rejected(case, tmp_path):
    folder = small_model(tmp_path / "gpt2", "gpt2")
    header = HEADERS[case].encode()
    content = struct.pack("<Q", len(header)) + header + b"four"
    (folder / "model.safetensors").write_bytes(content)
    rejection_without_memory(read_model, folder)


# --- Folders of runs, which `lmladder compare` reads ----------------------------------------------


def more_settings(text):
    """Return a function that appends to the settings of a run."""

    def append(folder):
        with (folder / ".hydra/config.yaml").open("a") as file:
            file.write(text)

    return append


def instead_of(name, make):
    """Return a function that replaces a file of a run."""

    def put(folder):
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return put


def a_terabyte(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no space


def bomb(first, level):
    """Return YAML in which each value has nine times the one before: 9 ** 12 in half a kilobyte."""
    nine = [",".join([f"*a{index}"] * 9) for index in range(12)]
    levels = "".join(f"  a{i}: &a{i} {level % each}\n" for i, each in enumerate(nine[:-1], 1))
    return f"bomb:\n  a0: &a0 {first}\n{levels}"


HOSTILE = {
    "a list of lists": more_settings(bomb("[x, x]", "[%s]")),
    "merged mappings": more_settings(bomb("{x: 1}", "{<<: [%s]}")),
    "a circle": more_settings("bomb: &a {a: *a}\n"),
    "a tag that runs a program": more_settings(
        "bomb: !!python/object/apply:os.mkdir [owned]\n"  # in the folder of the test
    ),
    "a hundred thousand levels": more_settings("bomb: " + "[" * 100_000),
    "four million empty lists": more_settings("bomb: [" + "[]," * 4_000_000 + "]"),
    "control codes of a terminal": more_settings('data: {path: "\\e]0;owned\\a"}\n'),
    "an infinite device": instead_of("metrics.json", lambda path: path.symlink_to("/dev/zero")),
    "a terabyte": instead_of("metrics.json", a_terabyte),
    "a number of 5,000 digits": instead_of(
        "metrics.json", lambda path: path.write_text('{"val_loss": ' + "9" * 5_000 + "}")
    ),
    **{
        f"{name} is a pipe": instead_of(name, os.mkfifo)
        for name in ("metrics.json", ".hydra/config.yaml", "checkpoint.safetensors")
    },
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_run_is_left_out_and_the_others_are_compared(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs/fine", 0.5)
    HOSTILE[case](write_run(tmp_path / "runs/hostile", 0.4))
    found = find_runs([tmp_path / "runs"])
    assert [run.path.name for run in found.runs] == ["fine"]
    (note,) = found.notes
    assert "hostile" in note
    assert note.isprintable()
    assert not (tmp_path / "owned").exists()
