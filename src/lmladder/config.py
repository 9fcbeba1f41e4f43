"""Every configuration key and its type. Values live in `conf/` only; here is what they may be.

Both doors, Hydra for people and params.yaml for DVC, are guarded by this schema: it refuses unknown
keys and wrong types before anything runs. `validate` adds what types cannot say.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast

from lmladder.errors import InputError

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


@dataclass
class RuntimeConfig:
    """How to compute; of what comes out, at most the last digits."""

    threads: int | None = MISSING  # null: one a core
    kernels: str = MISSING  # numba or numpy


@dataclass
class SplitConfig:
    """Fractions of the corpus; they sum to 1."""

    train: float = MISSING
    val: float = MISSING
    test: float = MISSING


@dataclass
class DataConfig:
    """Which text, and how it is cut."""

    corpus: str = MISSING  # tales, shakespeare, names or file
    path: str | None = MISSING  # the grammar, the file, or a name in the cache of downloads
    watch: str = MISSING  # the file whose change makes `dvc repro` prepare the text anew
    url: str | None = MISSING
    sha256: str | None = MISSING
    documents: str = MISSING  # whole: one long text; lines: one document a line
    characters: int | None = MISSING  # how much to tell; tales only
    seed: int = MISSING  # of the tales told and of the shuffle of documents
    split: SplitConfig = field(default_factory=SplitConfig)
    prompt: str | None = MISSING  # for samples.txt; null: how the validation text begins


@dataclass
class TokenizerConfig:
    """How text becomes numbers."""

    name: str = MISSING  # byte or char


@dataclass
class SampleConfig:
    """The samples.txt that each rung writes."""

    prompt: str | None = MISSING
    tokens: int = MISSING
    temperature: float = MISSING  # 0: the likeliest token always
    top_k: int | None = MISSING  # null: all tokens
    top_p: float = MISSING  # 1: all tokens
    min_p: float = MISSING  # 0: all tokens
    repetition_penalty: float = MISSING  # 1: none
    beams: int | None = MISSING  # of a beam search, which knows none of the five above; null: draw
    samples: int = MISSING  # for each model
    stop: list[str] = MISSING  # texts before which a sample ends


@dataclass
class BigramConfig:
    """The count models."""

    add_k: float = MISSING  # added to each count of unigram, bigram and trigram
    kneser_ney_orders: list[int] = MISSING


@dataclass
class OptimizerConfig:
    """One optimizer. What an optimizer does not use is null."""

    name: str = MISSING  # adam, adamw or muon
    learning_rate: float = MISSING  # of adam and adamw, and of what muon leaves to adamw
    betas: tuple[float, float] = MISSING
    epsilon: float = MISSING
    weight_decay: float = MISSING  # of matrices, a step: learning_rate * weight_decay
    matrix_learning_rate: float | None = MISSING  # muon
    momentum: float | None = MISSING  # muon


@dataclass
class ScheduleConfig:
    """The learning rate's course: a rise over warmup_steps, then a fall to final_fraction."""

    name: str = MISSING  # constant, linear or cosine
    warmup_steps: int = MISSING
    final_fraction: float = MISSING


@dataclass
class TrainingConfig:
    """One training run."""

    steps: int = MISSING
    batch_size: int = MISSING  # rows a step
    row_length: int = MISSING  # tokens predicted in a row
    clip_norm: float | None = MISSING  # of all gradients together; null: no clipping
    evaluate_every: int = MISSING  # steps between two lines of history.csv and two checkpoints
    evaluate_tokens: int = MISSING  # how much of the validation text those lines score


@dataclass
class RungConfig:
    """What each neural rung has besides its architecture."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class MlpArchitecture:
    """Bengio et al. 2003: embeddings of the last tokens, side by side, through hidden layers."""

    context_length: int = MISSING
    embedding_size: int = MISSING
    hidden_sizes: list[int] = MISSING
    activation: str = MISSING


@dataclass
class MlpConfig(MlpArchitecture, RungConfig):
    """The MLP rung."""


@dataclass
class TransformerArchitecture:
    """A decoder-only Transformer with pre-norm blocks, as GPT-2."""

    n_layer: int = MISSING
    n_head: int = MISSING
    d_model: int = MISSING
    context_length: int = MISSING
    activation: str = MISSING
    dropout: float = MISSING


@dataclass
class TransformerConfig(TransformerArchitecture, RungConfig):
    """The Transformer rung."""


@dataclass
class EvaluateConfig:
    """How the table is made."""

    splits: list[str] = MISSING
    checkpoint: str = MISSING  # latest or best
    least_context: float = MISSING  # of a context; what a later window's first token sees at least
    batch_tokens: int = MISSING  # scored at a time; changes memory, and results by rounding only


@dataclass
class Config:
    """Everything."""

    seed: int = MISSING
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    bigram: BigramConfig = field(default_factory=BigramConfig)
    mlp: MlpConfig = field(default_factory=MlpConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


T = TypeVar("T")


def typed(node: DictConfig) -> Config:
    """The composed configuration as dataclasses, checked.

    Raises
    ------
    InputError
        If a value is missing, or is one that its type allows but its meaning does not.
    """
    for path in _missing("", node):
        raise InputError(f"{path} has no value; give {path}=...")
    try:
        config = cast(Config, OmegaConf.to_object(node))
    except OmegaConfBaseException as error:
        raise InputError(f"configuration: {one_line(error)}") from None
    _refuse_other_keys("", node, config)
    validate(config)
    return config


def from_mapping(schema: type[T], mapping: dict[str, Any]) -> T:
    """An instance of one of the dataclasses above, from plain values of unknown origin."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(mapping))
        return cast(T, OmegaConf.to_object(merged))
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{schema.__name__}: {one_line(error)}") from None


# Lines of Hydra's and OmegaConf's messages that help a developer, not a user.
_NOISE = (
    "full_key:",
    "object_type=",
    "reference_type=",
    "To append",
    "Set the env",
    "Config search",
)


def one_line(error: BaseException) -> str:
    """What an error of Hydra or OmegaConf says, and why, in one line that names the key."""
    if (lexer := "LexerNoViableAltException: ") in str(error):
        override = str(error).partition(lexer)[2].splitlines()[0].strip()
        return f"cannot read {override}; a value with special characters wants quotes: key='value'"
    lines: list[str] = []
    for each in (error, error.__cause__):
        for line in str(each or "").splitlines():
            text = " ".join(line.split())
            if text.startswith("Config search"):
                break
            if text.startswith("full_key:") and each is error and not error.__cause__:
                text = f"(at {text.removeprefix('full_key:').strip()})"
            if text and not text.startswith(_NOISE) and text not in lines:
                lines.append(text)
    return " ".join(lines) or type(error).__name__


# Least value of each number that has one, by key.
_POSITIVE = {
    "threads", "characters", "tokens", "top_k", "add_k", "learning_rate", "matrix_learning_rate",
    "epsilon", "steps", "batch_size", "row_length", "clip_norm", "evaluate_every",
    "evaluate_tokens", "context_length", "embedding_size", "hidden_sizes", "kneser_ney_orders",
    "n_layer", "n_head", "d_model", "batch_tokens", "train", "val", "top_p", "repetition_penalty",
    "beams", "samples",
}  # fmt: skip
_NOT_NEGATIVE = {"seed", "temperature", "weight_decay", "warmup_steps"}
_FRACTIONS = {"test", "final_fraction", "top_p", "min_p"}
_BELOW_ONE = {"dropout", "momentum", "betas", "least_context"}
CHOICES = {
    "runtime.kernels": ("numba", "numpy"),
    "data.corpus": ("tales", "shakespeare", "names", "file"),
    "data.documents": ("whole", "lines"),
    "tokenizer.name": ("char", "byte"),
    **{
        f"{rung}.{key}": choices
        for rung in ("mlp", "transformer")
        for key, choices in {
            "activation": ("relu", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu"),
            "optimizer.name": ("adam", "adamw", "muon"),
            "schedule.name": ("constant", "linear", "cosine"),
        }.items()
    },
    "evaluate.checkpoint": ("latest", "best"),
    "evaluate.splits": ("val", "test"),
}


def validate(config: Config) -> None:
    """Raise InputError, naming the key, for a number out of range or settings that do not fit."""
    for path, value in _leaves("", config):
        key = path.rsplit(".", 1)[-1]
        for number in value if isinstance(value, list | tuple) else [value]:
            if path in CHOICES and number not in CHOICES[path]:
                raise InputError(f"{path} must be one of {', '.join(CHOICES[path])}, not {number}")
            if not isinstance(number, int | float):
                continue
            if not math.isfinite(number):
                raise InputError(f"{path} must be a finite number, not {number}")
            if key in _POSITIVE and not number > 0:
                raise InputError(f"{path} must be more than 0, not {number}")
            if key in _NOT_NEGATIVE and not number >= 0:
                raise InputError(f"{path} must be at least 0, not {number}")
            if key in _FRACTIONS and not 0 <= number <= 1:
                raise InputError(f"{path} must be between 0 and 1, not {number}")
            if key in _BELOW_ONE and not 0 <= number < 1:
                raise InputError(f"{path} must be at least 0 and less than 1, not {number}")
        if key == "betas" and len(value) != 2:
            raise InputError(f"{path} must be two numbers, not {len(value)}")
    for name, rung in (("mlp", config.mlp), ("transformer", config.transformer)):
        if rung.schedule.warmup_steps >= rung.training.steps:
            raise InputError(
                f"{name}.schedule.warmup_steps={rung.schedule.warmup_steps} leaves nothing of "
                f"{name}.training.steps={rung.training.steps}"
            )
        optimizer = rung.optimizer
        if optimizer.name == "muon" and None in (
            optimizer.matrix_learning_rate,
            optimizer.momentum,
        ):
            raise InputError(
                f"{name}.optimizer.name=muon needs its matrix_learning_rate and momentum; "
                f"choose it whole with optimizer@{name}.optimizer=muon"
            )
    sample = config.sample
    if "" in sample.stop:
        raise InputError("sample.stop has an empty text; give at least one character")
    if sample.beams is not None and sample.samples > sample.beams:
        raise InputError(
            f"sample.samples={sample.samples} is more than sample.beams={sample.beams} can give"
        )
    splits = config.evaluate.splits
    if not splits or len(set(splits)) < len(splits):
        raise InputError(f"evaluate.splits must name val or test, each once, not {splits}")
    transformer = config.transformer
    if transformer.d_model % transformer.n_head:
        raise InputError(
            f"transformer.n_head={transformer.n_head} does not divide "
            f"transformer.d_model={transformer.d_model}"
        )
    if transformer.training.row_length > transformer.context_length:
        raise InputError(
            f"transformer.training.row_length={transformer.training.row_length} is more than "
            f"transformer.context_length={transformer.context_length}"
        )
    split = config.data.split
    if abs(split.train + split.val + split.test - 1) > 1e-9:
        raise InputError(
            f"data.split must sum to 1, not {split.train} + {split.val} + {split.test}"
        )


def _refuse_other_keys(path: str, node: DictConfig, config: Any) -> None:
    """Raise InputError for what Hydra's `+key=value` and `~key` do past the schema."""
    known = {each.name for each in fields(config)}
    if removed := sorted(known - set(node)):
        raise InputError(f"{path}{removed[0]} has no value; give {path}{removed[0]}=...")
    for key in node:
        where = f"{path}{key!s}"
        if key not in known:
            raise InputError(f"unknown key {where}")
        if is_dataclass(getattr(config, str(key))):
            _refuse_other_keys(f"{where}.", node[key], getattr(config, str(key)))


def _missing(path: str, node: DictConfig) -> Iterator[str]:
    """Dotted paths of values that are left to the user; interpolations are not followed."""
    for key in node:
        name = str(key)
        if OmegaConf.is_missing(node, name):
            yield path + name
        elif not OmegaConf.is_interpolation(node, name) and OmegaConf.is_dict(node[name]):
            yield from _missing(f"{path}{name}.", node[name])


def _leaves(path: str, node: Any) -> list[tuple[str, Any]]:
    """(dotted path, value) of every value in nested dataclasses."""
    if not is_dataclass(node):
        return [(path, node)]
    prefix = f"{path}." if path else ""
    return [
        leaf
        for each in fields(node)
        for leaf in _leaves(prefix + each.name, getattr(node, each.name))
    ]
