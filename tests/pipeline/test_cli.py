"""The `lmladder` command, on the checkpoints of a tiny pipeline."""

import csv
import io
import json
import re
import shlex
import tomllib
from importlib.metadata import EntryPoint

from lmladder.checkpoint import content_of
from lmladder.sealing import seal, unseal

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

TRANSFORMER = "outputs/transformer/checkpoint.safetensors"
COUNTS = "outputs/bigram/checkpoint.safetensors"
PROMPT = "Once upon a time"


def changed(source, target, *, header=None, arrays=None, metadata=None):
    """A copy of a checkpoint with other header fields, other arrays, or other metadata, sealed."""
    with safe_open(source, framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        fields = unseal(file.metadata()["lmladder"], content_of(found))
    fields |= (header or (lambda fields: {}))(fields)
    other = {name: (arrays or np.copy)(array) for name, array in found.items()}
    metadata = metadata or {"lmladder": seal(fields, content_of(other))}
    save_file(other, target, metadata)


def text(done):
    """What was printed, without the newline that ends it."""
    output = done.succeeded().stdout
    assert output.endswith("\n")
    return output[:-1]


def test_the_console_script_is_this_command(project):
    scripts = tomllib.loads((project / "pyproject.toml").read_text())["project"]["scripts"]
    point = EntryPoint("lmladder", scripts["lmladder"], "console_scripts")
    assert point.value == "lmladder.cli:main"
    assert callable(point.load())


def test_the_command_works_in_a_process_of_its_own(smoke):
    how = ("--tokens", 5, "--seed", 1)
    assert len(text(smoke.lmladder("sample", *how))) == len(PROMPT) + 5
    smoke.lmladder("sample", *how, "--model", "nope").failed_in_one_line(2, "nope")


def test_help_shows_the_commands_and_an_example(lmladder):
    assert "sample" in text(lmladder("--help"))
    shown = " ".join(text(lmladder("sample", "--help")).split())
    assert "Example: lmladder sample --prompt" in shown
    assert "--temperature" in shown


def test_the_examples_of_the_help_work(lmladder):
    shown = " ".join(text(lmladder("sample", "--help")).split())
    examples = re.findall(r"Example: lmladder (.+?)(?= Example:| Options:)", shown)
    assert len(examples) == 3
    for example in examples:
        assert PROMPT in text(lmladder(*shlex.split(example)))


@pytest.mark.parametrize("tokens", [1, 7, 80])
def test_the_prompt_and_as_many_tokens_as_asked_for_are_printed(lmladder, tokens):
    how = ("sample", "--prompt", PROMPT, "--tokens", tokens)
    line = json.loads(text(lmladder(*how, "--json")))
    assert text(lmladder(*how)) == PROMPT + line["text"]
    if line["finish_reason"] == "length":
        assert len(line["text"]) == tokens  # char: one token a character
    else:  # the tale has ended before
        assert line["finish_reason"] == "boundary"
        assert len(line["tokens"]) == len(line["text"]) + 1 <= tokens


def test_the_same_seed_draws_the_same_text_and_another_seed_another(lmladder):
    drawn = [text(lmladder("sample", "--tokens", 60, "--seed", seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_several_samples_are_those_of_the_next_seeds(lmladder):
    how = ("sample", "--tokens", 30, "--seed")
    alone = [text(lmladder(*how, seed)) for seed in (4, 5, 6)]
    several = text(lmladder(*how, 4, "--samples", 3))
    assert several == "\n\n".join(f"== {i} ==\n{each}" for i, each in enumerate(alone, 1))


def test_a_line_of_json_a_sample_for_machines(lmladder):
    how = ("sample", "--tokens", 40, "--samples", 3, "--stop", "e", "--stop", "th", "--json")
    lines = [json.loads(line) for line in text(lmladder(*how)).splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert line.keys() == {"prompt", "text", "tokens", "log_probability", "finish_reason"}
        assert line["prompt"] == PROMPT
        assert line["finish_reason"] in ("stop", "length", "boundary")
        assert not re.search("e|th", line["text"])
        assert len(line["tokens"]) == 40 or line["finish_reason"] != "length"
        assert line["log_probability"] < 0
    (line,) = [json.loads(text(lmladder(*how, "--samples", 1)))]
    assert line["tokens"] == lines[0]["tokens"]


def test_every_filter_reaches_the_strategy(lmladder):
    def draw(*more):
        return text(lmladder("sample", "--tokens", 40, "--seed", 1, *more))

    greedy = draw("--temperature", 0)
    assert greedy == draw("--top-p", 1e-9) == draw("--min-p", 1) == draw("--beams", 1)
    assert greedy != draw() != draw("--repetition-penalty", 3)
    assert draw() == draw("--no-cache") == draw("--top-p", 1, "--min-p", 0, "--top-k", 999)


def test_a_search_finds_what_is_likelier_than_greedy_choice(lmladder):
    def log_probability(*how):
        made = text(lmladder("sample", "--tokens", 12, "--json", *how)).splitlines()
        return [json.loads(line)["log_probability"] for line in made]

    found = log_probability("--beams", 5, "--samples", 5)
    assert found == sorted(found, reverse=True)
    assert found[0] >= log_probability("--temperature", 0)[0] - 1e-4  # by rounding alone


def test_the_readmes_python_continues_a_prompt(smoke):
    page = (smoke / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert smoke.run("python", "-c", code).succeeded().stdout.startswith(PROMPT)


def test_temperature_zero_takes_the_likeliest_whatever_the_seed(lmladder):
    drawn = {
        text(lmladder("sample", "--tokens", 60, "--seed", seed, *how))
        for seed in (1, 2)
        for how in (["--temperature", 0], ["--top-k", 1])
    }
    assert len(drawn) == 1


def test_a_file_of_count_models_samples_the_one_that_is_named(lmladder):
    def draw(*more):
        return text(lmladder("sample", "--checkpoint", COUNTS, "--tokens", 60, *more))

    assert draw("--model", "bigram") == draw("--model", "bigram")
    assert draw("--model", "bigram") != draw("--model", "uniform")
    assert draw() == draw("--model", "kneser_ney_3")


def test_the_default_checkpoint_is_the_transformer(lmladder):
    named = lmladder("sample", "--tokens", 20, "--checkpoint", TRANSFORMER)
    assert text(named) == text(lmladder("sample", "--tokens", 20))


def test_sampled_texts_are_those_of_the_pipeline(smoke, lmladder):
    made = (smoke / "outputs/transformer/samples.txt").read_text().removesuffix("\n")
    how = ("--prompt", PROMPT, "--tokens", 20, "--temperature", 0.8, "--top-k", 40)
    alone = [text(lmladder("sample", *how, "--seed", seed)) for seed in range(3)]
    assert made.split("\n\n") == alone


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample"],
        ["score", COUNTS, "--text", "a"],
        ["inspect", TRANSFORMER],
        ["inspect", TRANSFORMER, "--next", "a", "-o", "next.svg"],
        ["export", TRANSFORMER, "mine"],
    ],
)
def test_a_missing_checkpoint_names_the_command_that_makes_it(
    lmladder, arguments, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = COUNTS if COUNTS in arguments else TRANSFORMER
    lmladder(*arguments).failed_in_one_line(2, path, "dvc repro")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "nope"], ["'nope'", "transformer"]),
        (["--checkpoint", COUNTS, "--model", "nope"], ["'nope'", "bigram", "kneser_ney_3"]),
        (["--prompt", ""], ["prompt is empty"]),
        (["--prompt", "caf\u00e9"], ["U+00E9", "offset 3"]),
        (["--prompt", "a\udcff"], ["byte 0xff"]),
        (["--checkpoint", "nope.safetensors"], ["nope.safetensors"]),
        (["--checkpoint", "outputs"], ["outputs"]),
        (["--checkpoint", "dvc.yaml"], ["dvc.yaml", "not a whole safetensors file"]),
        (["--temperature", "inf"], ["temperature", "inf"]),
        (["--top-p", "0"], ["top-p", "0"]),
        (["--min-p", "2"], ["min-p", "2"]),
        (["--repetition-penalty", "nan"], ["repetition penalty", "nan"]),
        (["--beams", "2", "--top-k", "5"], ["--beams", "--top-k"]),
        (["--beams", "2", "--samples", "3"], ["3 samples", "2 beams"]),
        (["--stop", ""], ["stop text is empty"]),
    ],
    ids=lambda value: ascii(" ".join(value)),
)
def test_an_argument_that_does_not_fit_the_checkpoint_is_told_in_one_line(
    lmladder, arguments, named
):
    done = lmladder("sample", *arguments)
    done.failed_in_one_line(2, *named)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sample", "--temperature", "-1"], ["--temperature"]),
        (["sample", "--temperature", "nan"], ["--temperature"]),
        (["sample", "--tokens", "0"], ["--tokens"]),
        (["sample", "--tokens", "many"], ["--tokens"]),
        (["sample", "--top-k", "0"], ["--top-k"]),
        (["sample", "--seed", "-1"], ["--seed"]),
        (["sample", "--beams", "0"], ["--beams"]),
        (["sample", "--samples", "0"], ["--samples"]),
        (["sample", "--tokns", "5"], ["--tokns"]),
        (["sample", "more"], ["more"]),
        (["smaple"], ["smaple"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_an_argument_that_no_checkpoint_would_fit_is_told_in_one_line(lmladder, arguments, named):
    done = lmladder(*arguments)
    done.failed_in_one_line(2, *named)
    assert done.stdout == ""


def test_without_arguments_the_help_is_shown(lmladder):
    done = lmladder()
    assert "sample" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", [0, 4, 3000, -4])
def test_a_truncated_checkpoint_is_refused(smoke, lmladder, size, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes((smoke / TRANSFORMER).read_bytes()[:size])
    lmladder("sample", "--checkpoint", path).failed_in_one_line(2, path, "not a whole")


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (lambda _: {"tokenizer": {"name": "byte"}}, ["tokenizer", "256"]),
        (lambda _: {"tokenizer": {"name": "byte"}, "vocabulary_size": 256}, ["does not fit"]),
        (lambda _: {"schema": 99}, ["schema 99"]),
        (lambda _: {"extra": 1}, ["damaged", "extra"]),
        (lambda _: {"kind": "rnn"}, ["unknown kind 'rnn'"]),
        (lambda _: {"config": "none"}, []),
        (lambda _: {"config": {}}, ["n_layer"]),
        (lambda fields: {"config": fields["config"] | {"n_layer": 2}}, ["does not fit"]),
        (lambda fields: {"config": fields["config"] | {"n_head": 3}}, []),
    ],
    ids=[
        "tokenizer", "vocabulary", "schema", "extra", "kind", "text for config", "empty config",
        "layers", "heads",
    ],
)  # fmt: skip
def test_a_checkpoint_that_contradicts_itself_is_refused(smoke, lmladder, header, named, tmp_path):
    path = tmp_path / "odd.safetensors"
    changed(smoke / TRANSFORMER, path, header=header)
    lmladder("sample", "--checkpoint", path).failed_in_one_line(2, *named)


def test_a_safetensors_file_of_another_program_is_refused(smoke, lmladder, tmp_path):
    path = tmp_path / "other.safetensors"
    changed(smoke / TRANSFORMER, path, metadata={"format": "pt"})
    done = lmladder("sample", "--checkpoint", path)
    done.failed_in_one_line(2, path, "not a checkpoint of lmladder")


def test_weights_that_are_not_numbers_are_told_in_one_line(smoke, lmladder, tmp_path):
    path = tmp_path / "nan.safetensors"
    changed(smoke / TRANSFORMER, path, arrays=lambda array: array * np.float32(np.nan))
    done = lmladder("sample", "--checkpoint", path)
    assert done.status in (1, 2)
    done.failed_in_one_line(done.status)


def test_a_reader_that_has_had_enough_ends_the_command_without_complaint(smoke):
    door = "from lmladder.cli import main; main()"
    done = smoke.run("sh", "-c", f"python -c '{door}' sample --tokens 3000 | head -c 16")
    assert (done.stdout, done.stderr) == (PROMPT, "")


def test_the_ladder_of_the_pipeline_is_compared(lmladder):
    done = lmladder("compare", "outputs", "--csv").succeeded()
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert lines[0]["model"] == "kneser_ney_3"
    assert {"mlp", "transformer", "uniform"} < {line["model"] for line in lines}
    assert "fewer than 20 blocks" in done.stderr


@pytest.mark.slow
def test_a_sweep_is_compared_with_what_its_seeds_tell(checkout):
    """Of validation rows there are enough, as of the whole text of the smoke settings not."""
    settings = ("experiment=smoke", "transformer.training.evaluate_tokens=4096")
    sweep = ("transformer.optimizer.learning_rate=0.001,0.01", "seed=0,1")
    checkout.stage("transformer", "-m", *settings, *sweep).succeeded()
    done = checkout.lmladder("compare", "outputs/sweeps", "--json").succeeded()
    best, other = json.loads(done.stdout)["lines"]
    assert done.stderr == ""
    assert best["seeds"] == other["seeds"] == [0, 1]
    assert other["low"] < other["difference"] < other["high"]
