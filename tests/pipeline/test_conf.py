"""conf/ and params.yaml: what is composed, and how mistakes are reported."""

import json
import os
import subprocess
import sys

from lmladder import config
from lmladder.models.registry import KINDS
from lmladder.system.streams import stream
from tests.pipeline.conftest import COMPOSE, PROJECT, PYTHON

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
    "transformer.n_lyer=3": "unknown setting transformer.n_lyer; did you mean transformer.n_layer?",
    "lr=1": "did you mean mlp.optimizer.learning_rate or transformer.optimizer.learning_rate?",
    "mlp.steps=9": "unknown setting mlp.steps; did you mean mlp.training.steps?",
    "sede=1": "unknown setting sede; did you mean seed?",
    "mlp.xyz=1": "unknown setting mlp.xyz; choose from kind, watch,",
    "mlp.optimizer=adam": "is a group of settings; choose optimizer@mlp.optimizer=adam",
    "+rungs=lstm": "there is no rungs/lstm.yaml; give the folder with rungs/: --config-dir=...",
    "mlp.optimizer.momentum=0.9": "mlp.optimizer.momentum; it belongs to optimizer sgd or muon",
    "tokenizer.name=nope": "tokenizer.name: unknown tokenizer 'nope'",
    "+mixtures.a={kind: mixture, members: []}": "mixtures.a.members must name at least one model",
    "+mixtures.a=${mlp}": "mixtures.a.kind=mlp: rungs of this kind are in rungs",
    "+rungs.a={kind: mixture, members: [mlp]}": "rungs.a.kind=mixture: rungs of this kind are in",
    "+rungs.a=${with_seed:transformed,1}": "unknown rung transformed",
    "+rungs.a={kind: oracle, watch: null}": "rungs of this kind are in the prepared text",
    "+rungs.transformer=${mlp}": "rungs.transformer: transformer has a model 'transformer' too",
    "+rungs.a={kind: nope}": "rungs.a.kind: unknown kind of rung 'nope'",
    "+rungs.a={kind: settings}": "unknown kind of rung 'settings'; choose from counts",
    "transformer.n_layer=three": "transformer.n_layer=three Value 'three'",
    "seed=null": "seed=null field 'seed' is not Optional",
    "seed=-1": "seed must be at least 0, got -1",
    "~seed": "seed is missing; give seed=...",
    "transformer.training.batch_size=???": "transformer.training.batch_size is missing",
    "data=nope": "'data/nope' Available options in 'data': file names shakespeare tales",
    "data.prompt='a": "cannot read data.prompt='a; a value with special characters needs quotes",
    "data=names data.watch=missing": "data.watch: there is no file missing",
    "mlp.init_from=a": "mlp.init_from=a, but mlp.watch=stages/mlp.py; give mlp.watch=a",
    "transformer.n_head=3": "transformer.n_head=3 does not divide transformer.d_model=128",
    "transformer.positions=rotary transformer.n_head=128": "positions=rotary rotates pairs",
    "transformer.feed_forward_factor=0.001": "transformer.d_model=128 must be at least 1",
    "transformer.training.sequence_length=513": "more than transformer.context_length=512",
    "transformer.schedule.warmup_steps=1000": "transformer.schedule.warmup_steps=1000",
    "mlp.training.gradient_accumulation_steps=3": "does not divide mlp.training.batch_size=8",
    "mlp.activation=rleu": "mlp.activation must be one of relu, ",
    "data=file data.path=README.md data.watch=conf": "give data.watch=README.md",
    "sample.beams=2 sample.samples=3": "sample.samples=3 must be at most sample.beams=2",
    "+rungs.a=${nope}": "Interpolation key 'nope' not found",
    "schedule@mlp.schedule=wsd mlp.schedule.decay_fraction=1": "more than mlp.training.steps=1500",
    "sample.stop=['']": "sample.stop has an empty text",
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
        ("tinylm", 65, 2_731_200),
        ("tinylm_go", 9, 224),
        ("tinygradlm", 256, 2 * 256 * 64 + 64 * 64 + 2 * 49_984 + 128),
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


def test_settings_are_not_composed_while_dvc_runs_a_stage(checkout):
    params, lock = checkout / "params.yaml", checkout / ".dvc/tmp/rwlock"
    before = params.read_bytes()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid, runs in ((os.getpid(), True), (ended.pid, False)):
        lock.write_text(json.dumps({"outputs/mlp": {"write": {"pid": pid, "cmd": "dvc repro"}}}))
        done = checkout.run(PYTHON, "stages/compose.py", "experiment=smoke", "seed=3")
        if runs:
            done.failed_in_one_line(2, f"process {pid} is running a stage here")
        else:
            done.succeeded()
        assert (params.read_bytes() == before) == runs
