"""conf/ and params.yaml: what is composed, and how mistakes are reported."""

import sys
from dataclasses import fields

from lmladder import config, kernels
from lmladder.config import RuntimeSettings
from lmladder.models.registry import KINDS
from lmladder.models.settings import TransformerSettings
from lmladder.nn import activation, norm
from lmladder.system.streams import stream
from tests.pipeline.conftest import COMPOSE, PROJECT

import pytest
from dvc.utils.hydra import compose_and_dump
from omegaconf import OmegaConf

CONF = PROJECT / "conf"
PRESETS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SHARED = ("optimizer", "schedule", "training")  # groups from which each trained rung chooses
MORE = {  # what an option leaves to the user
    "data=file": ["data.path=README.md"],
    "tokenizer=checkpoint": ["tokenizer.path=README.md"],
    "transformer=from_checkpoint": ["transformer.init_from=README.md"],
}
OPTIONS = sorted(
    f"{group}@{rung}.{group}={path.stem}" if group in SHARED else f"{group}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    for group in [path.parent.name]
    for rung in (("mlp", "transformer") if group in SHARED else [""])
)

# Overrides with a mistake, and the words that the one line must have, or its end.
MISTAKES = {
    "transformer.n_lyer=3": "unknown setting transformer.n_lyer; did you mean 'n_layer'?",
    "mlpp=gru": "unknown setting mlpp; did you mean 'mlp'?",
    "+transformer.n_lyer=3": "unknown setting transformer.n_lyer; did you mean 'n_layer'?",
    "+foo=1": "unknown setting foo; choose from seed, runtime,",
    "mlp.optimizer.momentum=0.9": "mlp.optimizer.momentum; it belongs to optimizer sgd or muon",
    "data.documents=lines": "data.documents; it belongs to corpus download or file",
    "mlp=gru mlp.activation=relu": "mlp.activation; it belongs to kind of rung mlp or transformer",
    "tokenizer.name=nope": "tokenizer.name: unknown tokenizer 'nope'",
    "+rungs.a={kind: nope}": "rungs.a.kind: unknown kind of rung 'nope'",
    "+rungs.a={kind: settings}": "unknown kind of rung 'settings': module",
    "transformer.n_layer=three": "transformer.n_layer=three Value 'three'",
    "seed=null": "seed=null field 'seed' is not Optional",
    "seed=-1": "seed must be at least 0, got -1",
    "~seed": "seed is missing; give seed=...",
    "transformer.training.batch_size=???": "transformer.training.batch_size is missing",
    "data=nope": "'data/nope' Available options in 'data': file names shakespeare tales",
    "data.prompt='a": "cannot read data.prompt='a; a value with special characters needs quotes",
    "data=names data.watch=missing": "data.watch: there is no file missing",
    "data.split.train=0.7": "data.split must sum to 1, got 0.7 + 0.1 + 0.1",
    "tokenizer=checkpoint": "tokenizer.path",
    "tokenizer=bpe tokenizer.vocabulary_size=2": "vocabulary_size must be at least 256, got 2",
    "transformer=from_checkpoint transformer.init_from=nope": "init_from: there is no file nope",
    "mlp.init_from=a": "mlp.init_from=a, but mlp.watch=stages/mlp.py; give mlp.watch=a",
    "transformer.n_head=3": "transformer.n_head=3 does not divide transformer.d_model=128",
    "transformer.positions=rotary transformer.n_head=128": "positions=rotary rotates pairs",
    "transformer.positions=sinusoidal transformer.context_length=10000000": "at most 67,108,864",
    "transformer.feed_forward_factor=0.001": "transformer.d_model=128 must be at least 1",
    "transformer.training.sequence_length=512": "more than transformer.context_length=256",
    "transformer.schedule.warmup_steps=1000": "transformer.schedule.warmup_steps=1000",
    "mlp=rnn mlp.hidden_sizes=[]": "mlp.hidden_sizes must have at least one layer",
    "mlp.training.gradient_accumulation_steps=3": "does not divide mlp.training.batch_size=8",
    "schedule@mlp.schedule=wsd mlp.schedule.decay_fraction=1": "more than mlp.training.steps=1500",
    "sample.stop=['']": "sample.stop has an empty text",
    "sample.beams=2 sample.samples=3": "sample.samples=3 must be at most sample.beams=2",
    "evaluate.splits=[val,val]": "evaluate.splits must name val or test, each once",
    f"transformer.n_layer={10**30}": "transformer.n_layer must be at most 9223372036854775807",
}


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs stages/compose.py in an empty folder; returns its status, what it printed, and wrote."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides):
        monkeypatch.setattr(sys, "argv", ["compose.py", *overrides])
        status = COMPOSE.main()
        written = [path.read_text() for path in tmp_path.iterdir()]
        return status, capsys.readouterr(), written

    return run


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_dvc_composes_the_bytes_of_compose_and_params_yaml(preset, tmp_path):
    overrides = [f"experiment={preset}"] if preset else []
    path = tmp_path / "params.yaml"
    compose_and_dump(path, str(CONF), None, "config", str(PROJECT / "src"), overrides)
    expected = path.read_text()
    assert COMPOSE.composition(overrides) == expected
    assert preset or (PROJECT / "params.yaml").read_text() == expected


@pytest.mark.parametrize(
    ("preset", "vocabulary_size", "parameters"),
    [
        ("microgpt_x", 27, 4_192),
        ("tinylm", 65, 2_731_200),
        ("tinylm_small", 65, 818_048),
        ("tinylm_go", 9, 224),
        ("tinygradlm", 256, 2 * 256 * 64 + 64 * 64 + 2 * 49_984 + 128),
        ("tinygpt_grad", 65, 2 * 65 * 128 + 128 * 128 + 4 * 198_272 + 256),
        ("nanogpt_cpu", 65, 795_904 + 64 * 128),  # nanoGPT prints 0.80 M, without the positions
    ],
)
def test_a_preset_has_the_parameters_of_its_source(preset, vocabulary_size, parameters):
    node = OmegaConf.create(COMPOSE.composition([f"experiment={preset}"]))
    settings = config.typed(node).transformer
    build = KINDS.component("transformer")
    model = build(settings, vocabulary_size, rng=stream(0, "weights"))
    assert model.n_parameters == parameters


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes_with_no_value_missing(option):
    text = COMPOSE.composition([option, *MORE.get(option, [])])
    assert "???" not in text
    assert "${" not in text


@pytest.mark.parametrize("preset", ["experiment=smoke", "experiment=null", "~experiment"])
def test_the_command_writes_what_it_composes_and_names_the_next_step(command, preset):
    status, (out, _), written = command(preset)
    chosen = [preset] if preset == "experiment=smoke" else []
    assert (status, out) == (0, "params.yaml is composed; next: dvc repro\n")
    assert written == [COMPOSE.composition(chosen)]


def test_options_may_be_among_overrides():
    given = ["a=1", "-m", "~b", "--cfg", "job", "experiment=null,smoke", "data.prompt=null"]
    accepted = ["-m", "--cfg", "job", "a=1", "~b", "experiment=[],smoke", "data.prompt=null"]
    assert config.arguments(given) == accepted


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_params_yaml_stays(command, mistake, tmp_path):
    (tmp_path / "params.yaml").write_text("as it was")
    overrides = [mistake] if mistake[0] == "+" else mistake.split()
    status, (out, line), written = command(*overrides)
    assert (status, out, written) == (2, "", ["as it was"])
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert MISTAKES[mistake] in line


@pytest.mark.parametrize("override", ["transformer.n_lyer=3", "data=nope"])
def test_a_stage_started_by_hand_reports_the_same_mistakes(smoke, override):
    smoke.by_hand("transformer", override).failed_in_one_line(2, MISTAKES[override])


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("n_layer: 1", "n_lyer: 1", "unknown setting transformer.n_lyer; did you mean 'n_layer'?"),
        ("n_layer: 1", "n_layer: [", "params.yaml"),
        (None, "some text", "configuration: "),
    ],
)
def test_a_params_yaml_edited_by_hand_is_checked_by_the_stage(checkout, right, wrong, named):
    path = checkout / "params.yaml"
    path.write_text(path.read_text().replace(right, wrong, 1) if right else wrong)
    checkout.by_hand("transformer", "-cn", "pipeline").failed_in_one_line(2, named)


def test_an_experiment_with_a_mistake_fails_before_any_stage_runs(checkout):
    before = checkout.outputs()
    done = checkout.dvc("exp", "run", "--set-param", "transformer.n_lyer=3")
    assert done.status != 0
    assert "transformer.n_lyer=3" in done.stderr
    assert done.stages_run == []
    assert checkout.outputs() == before


def test_the_names_that_settings_allow_are_those_that_can_be_built():
    choices = {each.name: each.metadata["choices"] for each in fields(TransformerSettings)}
    assert set(choices["activation"]) == set(activation.ACTIVATIONS)
    assert set(choices["norm"]) == set(norm.NORMS)
    (declared,) = [each for each in fields(RuntimeSettings) if each.name == "kernels"]
    assert set(declared.metadata["choices"]) == set(kernels.CHOICES)
