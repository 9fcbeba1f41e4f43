"""Files that someone wrote to do harm: refused in one line, before they take memory or time."""

import ast
import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmladder.config import MlpArchitecture, TransformerArchitecture
from lmladder.data import WhitespaceTokenizer
from lmladder.experiments import find_runs
from lmladder.experiments.settings import MAX_BYTES
from lmladder.interop import FORMATS
from lmladder.interop.architecture import imported
from lmladder.models import build_neural
from lmladder.system.errors import InputError
from lmladder.system.sealing import seal
from lmladder.system.streams import stream
from lmladder.training.checkpoint import SCHEMA, Checkpoint
from tests.experiments.folders import write_run
from tests.faults.test_bits import without_memory

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
HUGE = 2**31 - 1

# --- What is nowhere in the source ----------------------------------------------------------------

# Each can run a program that stands in the data, and none is needed here.
MODULES = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "torch", "code"}
CALLS = {"eval", "exec", "compile", "__import__", "unsafe_load", "full_load", "load_all"}
SAFE_LOADERS = {"Loader"}  # comparison.settings.Loader is a SafeLoader


def dangers(source: str) -> list[str]:
    """Imports and calls in a program that could run what stands in a file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [each.name for each in names if each.name.split(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                found.append(module)
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                found.append(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name)):
                shell = [each for each in node.keywords if each.arg in ("shell", "allow_pickle")]
                unsafe_yaml = (module, name) == ("yaml", "load") and ast.unparse(
                    node.args[1]
                ) not in SAFE_LOADERS
                on_arrays = (module, name) in {("np", "load"), ("os", "system"), ("os", "popen")}
                if shell or unsafe_yaml or on_arrays or (module, name) == ("yaml", "unsafe_load"):
                    found.append(f"{module}.{name}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "np.load(path)",
        "np.save(path, array, allow_pickle=True)",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_what_could_run_a_program_is_seen(source: str) -> None:
    assert len(dangers(source)) == 1


def test_nothing_in_the_source_could_run_what_stands_in_a_file() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
    assert len(sources) > 100
    assert {str(path): found for path in sources if (found := dangers(path.read_text()))} == {}


# --- What is told of a file -----------------------------------------------------------------------


def test_a_message_is_one_line_and_gives_a_terminal_no_orders() -> None:
    told = str(InputError("naïve\n\x1b]0;owned\a \udcff\u202e"))
    assert told == r"naïve\n\x1b]0;owned\x07 \udcff\u202e"
    assert told.isprintable()


def test_a_key_of_a_checkpoint_is_quoted_without_its_powers(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({}, path, metadata={"lmladder": seal({"schema": SCHEMA, "\x1b[31m\n": 1})})
    with pytest.raises(InputError, match="is damaged") as caught:
        Checkpoint.load(path)
    assert str(caught.value).isprintable()


# --- Sizes ----------------------------------------------------------------------------------------

MLP = MlpArchitecture(context_length=2, embedding_size=2, hidden_sizes=[3], activation="tanh")
TRANSFORMER = TransformerArchitecture(
    n_layer=1, n_head=1, d_model=2, context_length=2, activation="gelu_tanh", attention_bias=False,
    tied=False, dropout=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "architecture", "asked"),
    [
        # Each number alone is one that a file of these weights may have; not two of them together.
        ("mlp", MLP, {"context_length": 30_000, "embedding_size": 30_000}),
        ("mlp", MLP, {"hidden_sizes": [30_000, 30_000]}),
        ("mlp", MLP, {"network": "gru", "hidden_sizes": [30_000]}),
        ("transformer", TRANSFORMER, {"context_length": 30_000, "d_model": 30_000}),
        ("transformer", TRANSFORMER, {"n_layer": 30_000, "d_model": 30_000}),
        ("transformer", TRANSFORMER, {"feed_forward_factor": 1e9}),
        ("transformer", TRANSFORMER, {"positions": "sinusoidal", "context_length": 10**10}),
    ],
    ids=str,
)
def test_sizes_in_a_checkpoint_take_no_more_memory_than_its_weights(
    kind: str, architecture: Any, asked: dict[str, Any], tmp_path: Path
) -> None:
    Checkpoint(
        kind=kind,
        config=asdict(architecture) | asked,
        seed=0,
        vocabulary_size=3,
        tokenizer={},
        data_digest="",
        model={"tokens.weight": np.zeros(30_000, np.float32)},
    ).save(tmp_path / "checkpoint.safetensors")
    told = without_memory(
        lambda path: Checkpoint.load(path).restore_models(), tmp_path / "checkpoint.safetensors"
    )
    assert "more than" in told


@pytest.mark.parametrize("sizes", [[[3]], [{}], [3, [4]]], ids=str)
def test_a_size_in_a_checkpoint_is_a_number(sizes: list[Any], tmp_path: Path) -> None:
    config = asdict(MLP) | {"hidden_sizes": sizes}
    with pytest.raises(InputError, match="hidden_sizes must be a list of single values"):
        Checkpoint("mlp", config, 0, 3, {}, "").restore_models()


def small(path: Path, name: str) -> Path:
    """A Transformer as another program keeps it."""
    tokenizer = WhitespaceTokenizer(["a", "b", "END"], 2)
    bias = name == "gpt2"
    architecture = TransformerArchitecture(**asdict(TRANSFORMER) | {"attention_bias": bias})
    model = build_neural(architecture, 3, rng=stream(0, "weights"))
    weights = {key: tensor.value for key, tensor in model.parameters().items()}
    FORMATS[name].write(imported(architecture, tokenizer, weights), path)
    return path


def test_a_weight_of_a_far_layer_makes_nobody_count_to_it(tmp_path: Path) -> None:
    folder = small(tmp_path / "gpt2", "gpt2")
    config = json.loads((folder / "config.json").read_text()) | {"n_layer": HUGE}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    weights[f"transformer.h.{HUGE - 1}.ln_1.weight"] = np.ones(2, np.float32)
    save_file(weights, folder / "model.safetensors")
    assert f"too few for {HUGE} layers" in without_memory(FORMATS["gpt2"].read, folder)

    path = small(tmp_path / "tiny.json", "tiny-lm")
    fields = json.loads(path.read_text()) | {"n_layers": HUGE}
    fields["weights"][f"blocks.{HUGE - 1}.norm1.weight"] = [1.0, 1.0]
    path.write_text(json.dumps(fields))
    assert f"too few for {HUGE} layers" in without_memory(FORMATS["tiny-lm"].read, path)


@pytest.mark.parametrize(
    "header",
    [
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        '"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"shape":[1152921504606846976],"data_offsets":[0,4]}}',
        '{"a":' * 100_000,
    ],
    ids=["a tensor twice", "a shape twice", "deep"],
)
def test_two_readers_of_a_header_are_never_told_two_things(header: str, tmp_path: Path) -> None:
    """safetensors checks offsets, we read them again: both must see the same."""
    folder = small(tmp_path / "gpt2", "gpt2")
    content = struct.pack("<Q", len(header)) + header.encode() + b"four"
    (folder / "model.safetensors").write_bytes(content)
    without_memory(FORMATS["gpt2"].read, folder)


# --- Folders of runs, which `lmladder compare` takes from anyone ----------------------------------


def settings(more: str) -> Callable[[Path], None]:
    def add(folder: Path) -> None:
        with (folder / ".hydra/config.yaml").open("a") as file:
            file.write(more)

    return add


def instead(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return replace


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no space


def laughs(first: str, level: str) -> str:
    """Each level stands for nine of the one before: 9 ** 12 values in half a kilobyte."""
    nine = [",".join([f"*a{index}"] * 9) for index in range(12)]
    levels = "".join(f"  a{i}: &a{i} {level % each}\n" for i, each in enumerate(nine[:-1], 1))
    return f"bomb:\n  a0: &a0 {first}\n{levels}"


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a list of lists": settings(laughs("[x, x]", "[%s]")),
    "merged mappings": settings(laughs("{x: 1}", "{<<: [%s]}")),
    "a circle": settings("bomb: &a {a: *a}\n"),
    "a tag that runs a program": settings(
        "bomb: !!python/object/apply:os.mkdir [owned]\n"  # in the folder of the test
    ),
    "a hundred thousand levels": settings("bomb: " + "[" * 100_000),
    "levels of items": settings("bomb:\n" + "- " * 100_000),
    "a pipe": instead("metrics.json", os.mkfifo),
    "settings from a pipe": instead(".hydra/config.yaml", os.mkfifo),
    "blocks from a pipe": instead("block_losses.csv", os.mkfifo),
    "a device that never ends": instead("metrics.json", lambda path: path.symlink_to("/dev/zero")),
    "a terabyte": instead("metrics.json", sparse),
    "a checkpoint of a terabyte": instead("checkpoint.safetensors", sparse),
    "a checkpoint from a pipe": instead("checkpoint.safetensors", os.mkfifo),
    "a record from a pipe": lambda folder: os.mkfifo(folder / "finished.json"),
    "four million empty lists": settings("bomb: [" + "[]," * 4_000_000 + "]"),
    "a number of 5,000 digits": instead(
        "metrics.json", lambda path: path.write_text('{"val_loss": ' + "9" * 5_000 + "}")
    ),
    "orders to a terminal": settings('data: {path: "\\e]0;owned\\a"}\n'),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_run_is_left_out_and_the_others_are_compared(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs/fine", 0.5)
    HOSTILE[case](write_run(tmp_path / "runs/hostile", 0.4))
    found = find_runs([tmp_path / "runs"])
    assert [run.path.name for run in found.runs] == ["fine"]
    (note,) = found.notes
    assert "hostile" in note
    assert note.isprintable()
    assert not (tmp_path / "owned").exists()


def test_a_file_is_read_up_to_a_size_that_no_run_writes() -> None:
    largest = max(path.stat().st_size for path in (ROOT / "outputs").rglob("*.csv"))
    assert largest < MAX_BYTES / 100


def test_a_pipe_in_place_of_a_checkpoint_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint.safetensors")
    with pytest.raises(InputError):
        Checkpoint.load(tmp_path / "checkpoint.safetensors")
