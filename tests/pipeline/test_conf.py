"""conf/ and params.yaml: what is composed, and how mistakes are told."""

import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

from lmladder import config, kernels
from lmladder.config import Config
from lmladder.errors import InputError
from lmladder.nn import ACTIVATIONS
from lmladder.optim import OPTIMIZERS, SCHEDULES
from lmladder.text import CORPORA, TOKENIZERS

import pytest
import yaml
from dvc.utils.hydra import compose_and_dump

CONF = Path(__file__).resolve().parents[2] / "conf"
RUNGS = ("mlp", "transformer")
SHARED = ("optimizer", "schedule")  # groups that each rung chooses from
MORE = {"data=file": ["data.path=book.txt"]}  # what an option leaves to the user

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
    (["optimizer@mlp.optimizer=sgd"], ["optimizer/sgd", "adamw"]),
    (["data=file"], ["data.path"]),
    (["transformer.training.batch_size=???"], ["transformer.training.batch_size"]),
    (["data.prompt=${nope}"], ["nope"]),
    (["data.path='a"], ["data.path"]),
    (["transformer.n_head=3"], ["transformer.n_head=3", "transformer.d_model=128"]),
    (["transformer.training.steps=-5"], ["transformer.training.steps", "-5"]),
    (["mlp.training.batch_size=0"], ["mlp.training.batch_size"]),
    (["transformer.dropout=1"], ["transformer.dropout"]),
    (["mlp.optimizer.learning_rate=nan"], ["mlp.optimizer.learning_rate"]),
    (["mlp.optimizer.learning_rate=inf"], ["mlp.optimizer.learning_rate"]),
    (["mlp.hidden_sizes=[64,0]"], ["mlp.hidden_sizes"]),
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
    ],
)
def test_a_params_yaml_spoilt_by_hand_is_refused_by_the_stage(checkout, right, wrong, named):
    path = checkout / "params.yaml"
    path.write_text(path.read_text().replace(right, wrong, 1))
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
        ("tokenizer.name", TOKENIZERS),
        ("mlp.activation", ACTIVATIONS),
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
        "mlp.schedule.name=nope",
        "tokenizer.name=nope",
        "data.corpus=nope",
        "transformer.schedule.warmup_steps=1000",
    ],
)
def test_a_name_that_cannot_be_built_is_refused_before_anything_runs(override, compose):
    with pytest.raises(InputError, match=override.partition("=")[0]):
        compose.composition([override])
