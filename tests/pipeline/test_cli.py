"""The `lmladder` command on the checkpoints of a tiny pipeline: samples, pages, and mistakes."""

import html
import json
import re
import shlex
from dataclasses import replace

from lmladder.data import Prepared
from lmladder.training.checkpoint import Checkpoint

import numpy as np
import pytest

TRANSFORMER = "outputs/transformer/checkpoint.safetensors"
MLP = "outputs/mlp/checkpoint.safetensors"
COUNTS = "outputs/bigram/checkpoint.safetensors"
PROMPT = "Once upon a time"
READERS = (("sample",), ("score", "--text", "Once"), ("inspect",), ("export", "-o", "new"))
# Arguments with a mistake, and words of the one line, in their order.
MISTAKES = {
    "smaple": "'smaple'",
    "inspect outputs/transfromer": "did you mean 'transformer'?",
    "sample --beams 2 --samples 3": "samples|2 beams|3",
    "sample --prompt caf\u00e9": "U+00E9|offset 3",
    f"sample {COUNTS} --model nope": "'nope'|bigram|kneser_ney_3",
    "score README.md": "README.md is not a complete safetensors file",
    f"export {MLP} -o new": "not a model of kind 'mlp'",
    f"import missing -o {MLP}": f"{MLP} exists",
    "import outputs/transformer -o new": "config.json",
    f"play {MLP} -o {MLP}": f".html|{MLP}",
    "play --text 'a\udcff' -o x.html": "--text must be valid UTF-8",
}


def text(done):
    """What was printed, without the newline that ends it."""
    output = done.succeeded().stdout
    assert output.endswith("\n")
    return output[:-1]


def test_the_command_works_in_a_process_of_its_own_whose_reader_may_leave_early(smoke):
    command = "python -m lmladder sample --tokens 3000 | head -c 16"
    done = smoke.run("bash", "-c", f"set -o pipefail; {command}")
    assert (done.stdout, done.stderr) == (PROMPT, "")
    assert smoke.lmladder("sample", "--tokens", 5).succeeded().stdout.startswith(PROMPT)


def test_a_sample_is_the_prompt_and_at_most_so_many_tokens_of_the_pipelines_transformer(lmladder):
    how = ("--prompt", PROMPT, "--tokens", 7)
    line = json.loads(text(lmladder("sample", *how, "--json", "--stop", "e", "--stop", "th")))
    assert line.keys() == {"prompt", "text", "tokens", "log_probability", "finish_reason"}
    assert not re.search("e|th", line["text"])
    line = json.loads(text(lmladder("sample", *how, "--json")))
    assert text(lmladder("sample", *how)) == text(lmladder("sample", "--tokens", 7))
    assert text(lmladder("sample", "outputs/transformer", *how)) == PROMPT + line["text"]
    assert len(line["tokens"]) == 7 or line["finish_reason"] != "length"


def test_several_samples_are_those_of_the_next_seeds_and_of_the_pipeline(smoke, lmladder):
    how = ("--temperature", 0.8, "--top-k", 40, "--tokens", 20)
    alone = [text(lmladder("sample", *how, "--seed", seed)) for seed in range(3)]
    assert len(set(alone)) == 3
    several = text(lmladder("sample", *how, "--samples", 3))
    assert several == "\n\n".join(f"== {i} ==\n{each}" for i, each in enumerate(alone, 1))
    samples = (smoke / "outputs/evaluate/samples.txt").read_text()
    assert "== transformer ==\n" + "\n\n".join(alone) in samples


def test_quiet_commands_print_results_only_and_verbose_ones_tracebacks(lmladder, tmp_path):
    page = tmp_path / "page.html"
    done = lmladder("score", "outputs/mlp", "--text", "Once", "-o", page, "-q").succeeded()
    assert done.stderr == ""
    again = lmladder("score", MLP, "--text", "Once", "-o", page).succeeded()
    assert (again.stdout, again.stderr) == (done.stdout, f"page: {page}\n")
    assert f"{MLP}: mlp, step 8" in lmladder("inspect", MLP, "-v").succeeded().stderr
    assert "Traceback" in lmladder("inspect", "nope", "-v").stderr


def test_every_option_reaches_the_strategy(lmladder):
    def draw(*more):
        return text(lmladder("sample", "--tokens", 40, "--seed", 1, *more))

    greedy = draw("--temperature", 0)
    for same in ("--top-p 1e-9", "--min-p 1", "--top-k 1", "--beams 1"):
        assert draw(*same.split()) == greedy
    assert greedy != draw() != draw("--repetition-penalty", 3)


@pytest.mark.parametrize("mistake", MISTAKES, ids=ascii)
def test_a_mistake_is_one_line_and_nothing_is_written(smoke, lmladder, mistake):
    before = smoke.outputs()
    line = lmladder(*shlex.split(mistake)).failed_in_one_line(2)
    assert re.search(".*".join(map(re.escape, MISTAKES[mistake].split("|"))), line), line
    assert not [name for name in ("x.html", "new") if (smoke / name).exists()]
    assert smoke.outputs() == before


@pytest.mark.parametrize("reader", READERS, ids=lambda each: each[0])
def test_a_checkpoint_that_cannot_be_used_is_one_line(
    smoke, lmladder, reader, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # where there are no results of the pipeline
    path = tmp_path / "damaged.safetensors"
    command, *options = reader

    def read(path):
        return lmladder(command, path, *options)

    read(COUNTS).failed_in_one_line(2, COUNTS, "lmladder run")
    path.write_bytes((smoke / TRANSFORMER).read_bytes()[:-4])
    read(path).failed_in_one_line(2, path)
    held = Checkpoint.load(smoke / TRANSFORMER)
    replace(held, kind="nope").save(path)
    read(path).failed_in_one_line(2)
    if command in ("sample", "score"):
        model = {name: array * np.float32(np.nan) for name, array in held.model.items()}
        replace(held, model=model).save(path)
        read(path).failed_in_one_line(1)
    assert not (tmp_path / "new").exists()


def test_a_page_has_the_suffix_of_one_so_that_it_replaces_no_checkpoint(lmladder, tmp_path):
    command, target = ("compare", "outputs", "-o"), tmp_path / "trained.safetensors"
    target.write_bytes(b"trained for days")
    lmladder(*command, target).failed_in_one_line(2, ".html or .svg", target)
    assert target.read_bytes() == b"trained for days"
    lmladder(*command, tmp_path / "nowhere/x.html").failed_in_one_line(2, "nowhere/x.html")


def test_the_folder_of_a_ladder_is_played_as_by_default(lmladder, smoke, tmp_path):
    pages = [tmp_path / "default.html", tmp_path / "folder.html"]
    lmladder("play", "-o", pages[0]).succeeded()
    lmladder("play", smoke.path / "outputs", "-o", pages[1]).succeeded()
    first, second = (page.read_text().replace(f"{smoke.path}/", "") for page in pages)
    assert first == second
    text = Prepared.open(smoke.path / "outputs/prepare")
    story = text.tokenizer.decode(text.val[:400]).partition("\n")[0]
    opening = html.unescape(re.search("<textarea[^>]*>(.*?)</textarea>", first, re.DOTALL)[1])
    assert opening == story[: story.rindex(" ") + 1] != ""
