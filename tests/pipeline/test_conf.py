"""conf/ and params.yaml: what is composed, and how mistakes are reported."""

import json
import os
import subprocess
import sys

from lmladder.config.composing import composed, validated
from lmladder.models.transformer import Transformer
from lmladder.system.streams import stream
from stages import compose
from tests.pipeline.conftest import PROJECT, Checkout

import pytest
from dvc.utils.hydra import compose_and_dump

CONF = PROJECT / "conf"
SHARED = ("optimizer", "schedule", "training")  # groups from which each trained rung chooses
NAMED = {"mixture": "@mixtures.a", **{group: f"@mlp.{group}" for group in SHARED}}
MORE = {  # what an option leaves to the user
    "data=file": ["data.path=data/sentence.txt"],
    "tokenizer=checkpoint": ["tokenizer.path=models/.gitignore"],
    "experiment=shakespeare_90": ["mixtures.carried_over.weights_from=models/.gitignore"],
    "transformer=from_checkpoint": ["transformer.init_from=models/.gitignore"],
    "mixture@mixtures.a=default": ["mixtures.a.members=[mlp]"],
}
OPTIONS = sorted(
    f"{'+' * (group == 'mixture')}{group}{NAMED.get(group, '')}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    for group in [path.parent.name]
)

# Overrides with a mistake, and what the one line must have; test_settings.py has wrong values.
MISTAKES = {
    "transformer.n_lyer=3": "n_lyer; did you mean 'transformer.n_layer'?",
    "lr=1": "did you mean 'mlp.optimizer.learning_rate' or ",
    "mlp.optimizer=adam": "choose optimizer@mlp.optimizer=adam",
    "rungs=lstm": 'got "lstm"; choose +rungs=lstm',
    f"hydra.searchpath=[{PROJECT}/examples] rungs=lstm": "add one with +rungs=NAME",
    "+rungs=lstm": "there is no rungs/lstm.yaml; give the folder with rungs/: --config-dir=...",
    "+rungs.a=${with_seed:transformed,1}": "unknown rung transformed",
    "+rungs.transformer=${with_seed:mlp,1}": "transformer has a model 'transformer' too",
    "+rungs.oracle=${with_seed:mlp,1}": "the text has a model 'oracle' too",
    "+rungs={v1.mlp: ${with_seed:mlp,1}}": "'v1.mlp' must consist of letters",
    "+rungs={../../evil: ${with_seed:mlp,1}}": "'../../evil' must consist of letters",
    "~seed": "seed is missing",
    "transformer.training.batch_size=???": "transformer.training.batch_size is missing",
    "data=nope": "unknown choice data=nope; choose from file, names, shakespeare, tales",
    "data=shakespear": "unknown choice data=shakespear; did you mean 'shakespeare'?",
    "data.prompt='a": "cannot read data.prompt='a; a value with special characters needs quotes",
    "data=file data.path=missing": "data.path: there is no file missing",
    "data=file data.path=data": "data.path: there is no file data",
    "data=file data.path=README.md": "data.path=README.md must be in data/",
    "mlp.init_from=README.md": "mlp.init_from=README.md must be in models/",
    "transformer.n_head=3": "transformer.n_head=3 does not divide d_model=128",
}


@pytest.mark.parametrize("overrides", [[], ["experiment=recipe", "seed=1"]], ids=str)
def test_dvc_composes_the_bytes_of_compose_and_params_yaml(overrides, tmp_path):
    path = tmp_path / "params.yaml"
    compose_and_dump(path, str(CONF), None, "config", str(PROJECT / "src"), overrides)
    expected = path.read_text()
    done = Checkout(tmp_path).here(compose.main, *overrides).succeeded()
    assert done.stdout == "params.yaml is composed; next: dvc repro\n"
    assert path.read_text() == expected
    assert overrides or (PROJECT / "params.yaml").read_text() == expected


@pytest.mark.parametrize(
    ("preset", "vocabulary_size", "parameters"),
    [
        ("tinylm", 65, 2_731_200),
        ("tinygradlm", 256, 2 * 256 * 64 + 64 * 64 + 2 * 49_984 + 128),
        ("nanogpt_cpu", 65, 795_904 + 64 * 128),  # nanoGPT prints 0.80 M, without the positions
    ],
)
def test_a_preset_has_the_parameters_of_its_source(preset, vocabulary_size, parameters):
    settings = validated(composed(CONF, [f"experiment={preset}"])).transformer
    model = Transformer(settings, vocabulary_size, rng=stream(0, "weights"))
    assert model.n_parameters == parameters


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes(option):
    assert "${" not in compose.composition([option, *MORE.get(option.removeprefix("+"), [])])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_params_yaml_stays(mistake, tmp_path):
    (tmp_path / "params.yaml").write_text("as it was")
    overrides = [mistake] if mistake[0] == "+" else mistake.split()
    done = Checkout(tmp_path).here(compose.main, *overrides)
    done.failed_in_one_line(2, MISTAKES[mistake])
    assert (tmp_path / "params.yaml").read_text() == "as it was"


def test_a_stage_checks_what_is_given_by_hand_and_in_params_yaml(checkout):
    checkout.by_hand("transformer", "data=nope").failed_in_one_line(2, MISTAKES["data=nope"])
    path = checkout / "params.yaml"
    right = path.read_text()
    path.write_text(right.replace("n_layer: 1", "n_lyer: 1"))
    checkout.stage("transformer").failed_in_one_line(2, "did you mean 'transformer.n_layer'?")
    path.write_text(right.replace("n_layer: 1", "n_layer: ["))
    checkout.by_hand("transformer", "-cn", "pipeline").failed_in_one_line(2, "params.yaml")


def test_settings_are_not_composed_while_dvc_runs_a_stage(checkout):
    params, lock = checkout / "params.yaml", checkout / ".dvc/tmp/rwlock"
    before = params.read_bytes()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (os.getpid(), ended.pid):
        lock.write_text(json.dumps({"outputs/mlp": {"write": {"pid": pid, "cmd": "dvc repro"}}}))
        done = checkout.compose("seed=3")
        assert done.status == (2 if pid == os.getpid() else 0)
        assert (params.read_bytes() == before) == (pid == os.getpid())
