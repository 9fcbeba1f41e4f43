"""conf/ and params.yaml: what is composed, and how mistakes are told."""

import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

from lmladder import config, kernels
from lmladder.config import Config, MlpArchitecture, TransformerArchitecture, from_mapping
from lmladder.errors import InputError
from lmladder.models import NETWORKS, build_neural
from lmladder.nn import ACTIVATIONS, NORMS, POSITIONS
from lmladder.optim import OPTIMIZERS, SCHEDULES
from lmladder.rng import stream
from lmladder.text import CORPORA, TOKENIZERS

import pytest
import yaml
from dvc.utils.hydra import compose_and_dump
from omegaconf import MISSING

CONF = Path(__file__).resolve().parents[2] / "conf"
RUNGS = ("mlp", "transformer")
SHARED = ("optimizer", "schedule")  # groups that each rung chooses from
MORE = {  # what an option leaves to the user
    "data=file": ["data.path=book.txt"],
    "tokenizer=checkpoint": ["tokenizer.path=imported.safetensors"],
    "transformer=from_checkpoint": ["transformer.init_from=imported.safetensors"],
}

PRESETS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(
    option
    for path in CONF.glob("*/*.yaml")
    for option in (
        [f"{path.parent.name}@{rung}.{path.parent.name}={path.stem}" for rung in RUNGS]
        if path.parent.name in SHARED
        else [f"{path.parent.name}={path.stem}"]
    )
)

# Overrides with a mistake, and what the one line must name.
MISTAKES = [
    (["transformer.n_lyer=3"], ["transformer.n_lyer"]),
    (["trnasformer.n_layer=3"], ["trnasformer"]),
    (["nope=tales"], ["nope"]),
    (["transformer.n_layer=three"], ["transformer.n_layer", "three"]),
    (["transformer.n_layer=1.5"], ["transformer.n_layer", "1.5"]),
    (["transformer.n_layer=[1]"], ["transformer.n_layer"]),
    (["seed=null"], ["seed"]),
    (["seed="], ["seed"]),
    (["seed=true"], ["seed"]),
    (["seed=1,2"], ["seed=1,2"]),
    (["seed=-1"], ["seed", "-1"]),
    (["seed"], ["seed"]),
    (["~seed"], ["seed"]),
    (["~transformer"], ["transformer."]),
    (["transformer=null"], ["configuration: "]),
    (["+foo=1"], ["unknown key foo"]),
    (["+transformer.foo=1"], ["unknown key transformer.foo"]),
    (["++data.split.extra=0"], ["unknown key data.split.extra"]),
    (["data=nope"], ["data/nope", "tales"]),
    (["experiment=nope"], ["experiment/nope", "smoke"]),
    (["optimizer@mlp.optimizer=rmsprop"], ["optimizer/rmsprop", "adamw"]),
    (["mlp.optimizer.name=muon"], ["mlp.optimizer", "muon", "matrix_learning_rate"]),
    (["mlp.optimizer.betas=null"], ["mlp.optimizer", "adamw needs betas"]),
    (["mlp.optimizer.momentum=0.9"], ["mlp.optimizer.momentum=0.9", "nothing to", "adamw"]),
    (["mlp.optimizer.nesterov=false"], ["mlp.optimizer.nesterov", "optimizer@mlp.optimizer="]),
    (["transformer.schedule.name=wsd"], ["needs decay_fraction", "schedule@transformer.schedule="]),
    (["mlp.schedule.decay_fraction=0.2"], ["mlp.schedule.decay_fraction", "cosine"]),
    (
        ["schedule@mlp.schedule=wsd", "mlp.schedule.decay_fraction=0"],
        ["mlp.schedule.decay_fraction", "more than 0"],
    ),
    (
        ["schedule@mlp.schedule=wsd", "mlp.schedule.decay_fraction=1"],
        ["mlp.schedule.warmup_steps=100", "decay_fraction=1.0", "steps=1500"],
    ),
    (["mlp.training.accumulate=3"], ["mlp.training.accumulate=3", "mlp.training.batch_size=8"]),
    (["mlp.training.accumulate=0"], ["mlp.training.accumulate"]),
    (["mlp.training.monitor_every=0"], ["mlp.training.monitor_every"]),
    (["mlp.training.patience=0"], ["mlp.training.patience"]),
    (["mlp.training.min_improvement=-1"], ["mlp.training.min_improvement"]),
    (["data=file"], ["data.path"]),
    (["tokenizer=checkpoint"], ["tokenizer.path"]),
    (["tokenizer.path=a"], ["tokenizer.path=a", "no effect", "checkpoint"]),
    (["tokenizer=byte", "tokenizer.name=checkpoint"], ["needs its path", "tokenizer=checkpoint"]),
    (
        ["tokenizer=checkpoint", "tokenizer.path=a", "tokenizer.watch=b"],
        ["tokenizer.path=a", "b is watched"],
    ),
    (["tokenizer=checkpoint", "tokenizer.path=missing"], ["tokenizer.path", "no file missing"]),
    (["transformer=from_checkpoint"], ["transformer.init_from has no value"]),
    (["transformer.init_from=a"], ["transformer.init_from=a", "transformer=from_checkpoint"]),
    (
        ["transformer=from_checkpoint", "transformer.init_from=missing"],
        ["transformer.init_from", "no file missing"],
    ),
    (["transformer.training.batch_size=???"], ["transformer.training.batch_size"]),
    (["data.prompt=${nope}"], ["nope"]),
    (["data.path='a"], ["data.path"]),
    (["transformer.n_head=3"], ["transformer.n_head=3", "transformer.d_model=128"]),
    (["transformer.context_length=0"], ["transformer.context_length", "0"]),
    (["transformer.n_head=0"], ["transformer.n_head", "0"]),
    (["transformer.positions=rotary", "transformer.n_head=128"], ["positions=rotary", "even"]),
    (["transformer.feed_forward_factor=0"], ["transformer.feed_forward_factor"]),
    (["transformer.init_deviation=-1"], ["transformer.init_deviation"]),
    (["transformer.tied=maybe"], ["transformer.tied"]),
    (["mlp=lstm"], ["mlp/lstm", "gru"]),
    (["mlp=gru", "mlp.activation=relu"], ["mlp.activation=relu", "tanh"]),
    (["mlp=rnn", "mlp.hidden_sizes=[]"], ["mlp.hidden_sizes"]),
    (["mlp=rnn", "mlp.context_length=64"], ["row_length=128", "mlp.context_length=64"]),
    (["transformer.training.steps=-5"], ["transformer.training.steps", "-5"]),
    (["mlp.training.batch_size=0"], ["mlp.training.batch_size"]),
    (["transformer.dropout=1"], ["transformer.dropout"]),
    (["mlp.optimizer.learning_rate=nan"], ["mlp.optimizer.learning_rate"]),
    (["mlp.optimizer.learning_rate=inf"], ["mlp.optimizer.learning_rate"]),
    (["mlp.hidden_sizes=[64,0]"], ["mlp.hidden_sizes"]),
    (["mlp.hidden_sizes=[64,[8]]"], ["mlp.hidden_sizes"]),
    (["mlp.optimizer.betas=[0.9]"], ["mlp.optimizer.betas", "two"]),
    (["mlp.optimizer.betas=[0.9,0.9,0.9]"], ["mlp.optimizer.betas", "two"]),
    (["mlp.optimizer.betas=0.9"], ["mlp.optimizer.betas"]),
    (["mlp.optimizer.betas=[0.9,1]"], ["mlp.optimizer.betas"]),
    (["transformer.training.row_length=512"], ["row_length=512", "context_length=256"]),
    (["data.split.train=0.7"], ["data.split", "0.7"]),
    (["data.split.val=0", "data.split.test=0.2"], ["data.split.val"]),
    (["data.characters=0"], ["data.characters"]),
    (["data.documents=pages"], ["data.documents", "lines", "pages"]),
    (["sample.temperature=inf"], ["sample.temperature"]),
    (["sample.top_p=0"], ["sample.top_p", "0"]),
    (["sample.top_p=1.5"], ["sample.top_p", "1.5"]),
    (["sample.min_p=-1"], ["sample.min_p", "-1"]),
    (["sample.repetition_penalty=0"], ["sample.repetition_penalty"]),
    (["sample.beams=0"], ["sample.beams"]),
    (["sample.samples=0"], ["sample.samples"]),
    (["sample.beams=2", "sample.samples=3"], ["sample.samples=3", "sample.beams=2"]),
    (["sample.stop=['']"], ["sample.stop", "empty"]),
    (["evaluate.splits=[train]"], ["evaluate.splits", "val", "train"]),
    (["evaluate.splits=[]"], ["evaluate.splits"]),
    (["evaluate.splits=[val,val]"], ["evaluate.splits"]),
    (["evaluate.checkpoint=first"], ["evaluate.checkpoint", "best", "first"]),
    (["runtime.threads=0"], ["runtime.threads"]),
]


def leaves(node, prefix=""):
    """Dotted paths of all values in nested mappings."""
    if not isinstance(node, dict):
        return {prefix}
    return {leaf for key in node for leaf in leaves(node[key], f"{prefix}.{key}".lstrip("."))}


def schema_leaves(schema, prefix=""):
    """Dotted paths of all values in nested dataclasses."""
    if not is_dataclass(schema):
        return {prefix}
    return {
        leaf
        for each in fields(schema)
        for leaf in schema_leaves(each.type, f"{prefix}.{each.name}".lstrip("."))
    }


def by_dvc(path, *overrides):
    """The composition as DVC makes it at `dvc exp run`."""
    compose_and_dump(path, str(CONF), None, "config", str(CONF.parent / "src"), list(overrides))
    return path.read_bytes()


def test_params_yaml_is_the_composition_of_conf(compose, project):
    assert compose.composition([]).encode() == (project / "params.yaml").read_bytes()


def test_params_yaml_is_what_dvc_would_compose(project, tmp_path):
    assert by_dvc(tmp_path / "params.yaml") == (project / "params.yaml").read_bytes()


@pytest.mark.parametrize("preset", PRESETS)
def test_dvc_composes_a_preset_to_the_same_bytes(compose, preset, tmp_path):
    override = f"experiment={preset}"
    assert by_dvc(tmp_path / "params.yaml", override) == compose.composition([override]).encode()


def test_params_yaml_has_every_key_of_the_schema_and_no_other(project):
    assert leaves(yaml.safe_load((project / "params.yaml").read_text())) == schema_leaves(Config)


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
def test_a_preset_has_the_parameters_of_its_source(compose, preset, vocabulary_size, parameters):
    config = from_mapping(Config, yaml.safe_load(compose.composition([f"experiment={preset}"])))
    model = build_neural(config.transformer, vocabulary_size, rng=stream(0, "weights"))
    assert model.n_parameters == parameters


@pytest.mark.parametrize(
    ("rung", "schema"), [("mlp", MlpArchitecture), ("transformer", TransformerArchitecture)]
)
def test_what_the_schema_takes_for_granted_is_what_conf_says(compose, rung, schema):
    said = yaml.safe_load(compose.composition([]))[rung]
    granted = {each.name: each.default for each in fields(schema) if each.default != MISSING}
    assert granted == {name: said[name] for name in granted}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_composes_with_no_value_missing(compose, option):
    text = compose.composition([option, *MORE.get(option, [])])
    assert "???" not in text
    assert "${" not in text
    assert leaves(yaml.safe_load(text)) == schema_leaves(Config)


def test_the_command_writes_what_it_composes(compose, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compose.py", "experiment=smoke"])
    assert compose.main() == 0
    assert (tmp_path / "params.yaml").read_text() == compose.composition(["experiment=smoke"])
    assert "dvc repro" in capsys.readouterr().out


@pytest.mark.parametrize(("overrides", "named"), MISTAKES, ids=lambda value: " ".join(value))
def test_a_mistake_is_told_in_one_line_and_leaves_params_yaml(
    compose, overrides, named, tmp_path, monkeypatch, capsys
):
    (tmp_path / "params.yaml").write_text("as it was")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compose.py", *overrides])
    assert compose.main() == 2
    out, line = capsys.readouterr()
    assert out == ""
    assert line.startswith("error: ")
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert all(name in line for name in named), line
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
    assert (tmp_path / "params.yaml").read_text() == "as it was"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("transformer.n_lyer=3", "transformer.n_lyer"),
        ("transformer.n_head=3", "transformer.n_head=3"),
        ("+foo=1", "unknown key foo"),
        ("transformer=null", "configuration: "),
    ],
)
def test_a_stage_started_by_hand_refuses_the_same_mistakes(checkout, override, named):
    checkout.stage("transformer", override).failed_in_one_line(2, named)


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("n_layer: 1", "n_lyer: 1", "n_lyer"),
        ("n_layer: 1", "n_layer: one", "transformer.n_layer"),
        ("n_layer: 1", "n_layer: -1", "transformer.n_layer"),
        ("  n_layer: 1\n", "", "transformer.n_layer"),
        ("n_layer: 1", "n_layer: [", "params.yaml"),
        ("seed: 0\n", "seed: 0\nextra: 1\n", "extra"),
        (None, "some text", "configuration: "),
    ],
)
def test_a_params_yaml_spoilt_by_hand_is_refused_by_the_stage(checkout, right, wrong, named):
    path = checkout / "params.yaml"
    path.write_text(path.read_text().replace(right, wrong, 1) if right else wrong)
    checkout.stage("transformer").failed_in_one_line(2, named)


def test_an_experiment_with_a_misspelt_key_is_refused_before_any_stage_runs(checkout):
    before = checkout.outputs()
    done = checkout.dvc("exp", "run", "--set-param", "transformer.n_lyer=3")
    assert done.status != 0
    assert "n_lyer" in done.stderr
    assert done.stages_run == []
    assert checkout.outputs() == before


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("runtime.kernels", kernels.CHOICES),
        ("data.corpus", CORPORA),
        ("tokenizer.name", {*TOKENIZERS, "checkpoint"}),
        ("mlp.activation", ACTIVATIONS),
        ("mlp.network", NETWORKS),
        ("transformer.norm", NORMS),
        ("transformer.positions", POSITIONS),
        ("transformer.optimizer.name", OPTIMIZERS),
        ("transformer.schedule.name", SCHEDULES),
    ],
)
def test_the_names_that_a_key_allows_are_those_that_can_be_built(key, registry):
    assert set(config.CHOICES[key]) == set(registry)


@pytest.mark.parametrize(
    "override",
    [
        "transformer.activation=nope",
        "transformer.optimizer.name=nope",
        "transformer.norm=nope",
        "transformer.positions=nope",
        "mlp.network=nope",
        "mlp.schedule.name=nope",
        "tokenizer.name=nope",
        "tokenizer.unknown=nope",
        "data.corpus=nope",
        "transformer.schedule.warmup_steps=1000",
    ],
)
def test_a_name_that_cannot_be_built_is_refused_before_anything_runs(override, compose):
    with pytest.raises(InputError, match=override.partition("=")[0]):
        compose.composition([override])


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["tokenizer.vocabulary_size=99"], "vocabulary_size=99 has no effect with .*name=char"),
        (["tokenizer=byte", "tokenizer.unknown=unk"], "unknown=unk has no effect with .*name=byte"),
        (["tokenizer=bpe", "tokenizer.unknown=unk"], "unknown=unk has no effect .* it is for word"),
        (["tokenizer.name=bpe"], "name=bpe needs its vocabulary_size; choose .* tokenizer=bpe"),
        (["tokenizer.name=word"], "name=word needs its unknown; choose .* tokenizer=word"),
        (["tokenizer=word", "tokenizer.unknown=skip"], "must be one of error, unk, not skip"),
        (["tokenizer=bpe", "tokenizer.vocabulary_size=0"], "vocabulary_size must be more than 0"),
    ],
)
def test_settings_that_a_tokenizer_lacks_or_does_not_use_are_refused(overrides, told, compose):
    with pytest.raises(InputError, match=rf"tokenizer\..*{told}"):
        compose.composition(overrides)
