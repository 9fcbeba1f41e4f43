"""Every configuration key and its type. Values live in `conf/` only; here is what they may be.

Both doors, Hydra for people and params.yaml for DVC, are guarded by this schema: it refuses unknown
keys and wrong types before anything runs. `validate` adds what types cannot say.
"""

import math
from collections.abc import Iterator, Mapping
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
    documents: str = MISSING  # whole: one long text; lines, paragraphs: one document each
    characters: int | None = MISSING  # how much to tell; tales only
    seed: int = MISSING  # of the tales told and of the shuffle of documents
    split: SplitConfig = field(default_factory=SplitConfig)
    prompt: str | None = MISSING  # for samples.txt; null: how the validation text begins


@dataclass
class TokenizerConfig:
    """How text becomes numbers. What a tokenizer does not use is null."""

    name: str = MISSING  # byte, char, word or bpe; checkpoint: that of another model
    vocabulary_size: int | None = MISSING  # bpe and word, at most; null, word only: all words
    unknown: str | None = MISSING  # word: what a word outside the vocabulary is, error or unk
    path: str | None = MISSING  # of the checkpoint whose tokenizer it is
    watch: str = MISSING  # the file whose change makes `dvc repro` prepare the text anew


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
    """One optimizer. What it does not use (see OPTIMIZER_SETTINGS) is null."""

    name: str = MISSING  # sgd, adam, adamw or muon
    learning_rate: float = MISSING  # with muon, of what it leaves to adamw
    betas: tuple[float, float] | None = MISSING
    epsilon: float | None = MISSING
    weight_decay: float | None = MISSING  # of matrices, a step: learning_rate * weight_decay
    matrix_learning_rate: float | None = MISSING
    momentum: float | None = MISSING
    nesterov: bool | None = MISSING  # muon always looks ahead


@dataclass
class ScheduleConfig:
    """The learning rate's course: a rise over warmup_steps, then a fall to final_fraction."""

    name: str = MISSING  # constant, linear, cosine or wsd
    warmup_steps: int = MISSING
    final_fraction: float = MISSING
    decay_fraction: float | None = MISSING  # of all steps: the last ones, over which wsd falls

    def decay_steps(self, steps: int) -> int:
        """Of a run of so many, those over which the rate falls: at least one."""
        if self.decay_fraction is None:
            return steps - self.warmup_steps
        return max(1, round(self.decay_fraction * steps))


@dataclass
class TrainingConfig:
    """One training run."""

    steps: int = MISSING  # at most, where there is patience
    batch_size: int = MISSING  # rows a step, over all its micro-batches
    accumulate: int = MISSING  # micro-batches a step; divides batch_size, and memory with it
    row_length: int = MISSING  # tokens predicted in a row
    clip_norm: float | None = MISSING  # of all gradients together; null: no clipping
    evaluate_every: int = MISSING  # steps between two lines of history.csv and two checkpoints
    evaluate_tokens: int = MISSING  # how much of the validation text those lines score
    monitor_every: int | None = MISSING  # steps between gradient norms by group; null: never
    patience: int | None = MISSING  # evaluations without improvement, then it ends; null: never
    min_improvement: float = MISSING  # nats a token; for patience, less than this is none


@dataclass
class RungConfig:
    """What each neural rung has besides its architecture."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class MlpArchitecture:
    """The rung between counts and attention: an MLP, or a recurrent network in its place."""

    context_length: int = MISSING  # of a recurrent network: after so many tokens it begins anew
    embedding_size: int = MISSING
    hidden_sizes: list[int] = MISSING
    activation: str = MISSING  # of a recurrent network: tanh
    network: str = "mlp"  # mlp (Bengio et al. 2003), rnn (Elman 1990) or gru (Cho et al. 2014)


@dataclass
class MlpConfig(MlpArchitecture, RungConfig):
    """The MLP rung."""


@dataclass
class TransformerArchitecture:
    """A decoder-only Transformer with pre-norm blocks; by default GPT-2's.

    What has a default here has the same in `conf/`: so a checkpoint from before there was a choice
    still says what it holds.
    """

    n_layer: int = MISSING
    n_head: int = MISSING
    d_model: int = MISSING
    context_length: int = MISSING
    activation: str = MISSING
    dropout: float = MISSING
    gated: bool = False  # whether a third matrix gates the feed-forward layer (Shazeer 2020)
    feed_forward_factor: float = 4.0  # its width in d_model; a gated one has two thirds of that
    norm: str = "layernorm"  # layernorm, rmsnorm or none
    norm_weights: bool = True  # whether norms learn a scale, and with bias a shift
    embedding_norm: bool = False  # whether there is one after the embeddings
    final_norm: bool = True  # whether there is one before the head
    qk_norm: bool = False  # whether queries and keys have root mean square 1 by head
    positions: str = "learned"  # learned, sinusoidal, rotary or none
    bias: bool = True  # of linear layers and layer norms
    attention_bias: bool = True  # false: none in attention, even if `bias`
    tied: bool = True  # whether the head shares the matrix of the token embeddings
    init_deviation: float = 0.02  # standard deviation of initial weights
    residual_scaling: bool = True  # whether those that end a branch have it / sqrt(2 n_layer)


@dataclass
class TransformerConfig(TransformerArchitecture, RungConfig):
    """The Transformer rung."""

    init_from: str | None = MISSING  # the checkpoint with its first weights; null: they are drawn
    watch: str | None = MISSING  # the file whose change makes `dvc repro` train anew; never null


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
    _refuse_nested(config)
    validate(config)
    return config


def from_mapping(schema: type[T], mapping: dict[str, Any]) -> T:
    """An instance of one of the dataclasses above, from plain values of unknown origin."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(mapping))
        made = cast(T, OmegaConf.to_object(merged))
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{schema.__name__}: {one_line(error)}") from None
    _refuse_nested(made)
    return made


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
    "n_layer", "n_head", "d_model", "feed_forward_factor", "init_deviation", "batch_tokens",
    "train", "val", "accumulate", "monitor_every", "patience", "decay_fraction", "vocabulary_size",
    "top_p", "repetition_penalty", "beams", "samples",
}  # fmt: skip
_NOT_NEGATIVE = {"seed", "temperature", "weight_decay", "warmup_steps", "min_improvement"}
_FRACTIONS = {"test", "final_fraction", "decay_fraction", "top_p", "min_p"}
_BELOW_ONE = {"dropout", "momentum", "betas", "least_context"}
_ADAM = ("learning_rate", "betas", "epsilon")
OPTIMIZER_SETTINGS: dict[str, tuple[str, ...]] = {  # what each uses
    "sgd": ("learning_rate", "momentum", "nesterov", "weight_decay"),
    "adam": _ADAM,
    "adamw": (*_ADAM, "weight_decay"),
    "muon": (*_ADAM, "weight_decay", "matrix_learning_rate", "momentum"),
}
_COURSE = ("warmup_steps", "final_fraction")
SCHEDULE_SETTINGS: dict[str, tuple[str, ...]] = {
    "constant": _COURSE,
    "linear": _COURSE,
    "cosine": _COURSE,
    "wsd": (*_COURSE, "decay_fraction"),
}
CHOICES = {
    "runtime.kernels": ("numba", "numpy"),
    "data.corpus": ("tales", "shakespeare", "names", "file"),
    "data.documents": ("whole", "lines", "paragraphs"),
    "tokenizer.name": ("char", "byte", "word", "bpe", "checkpoint"),
    "tokenizer.unknown": ("error", "unk"),
    **{
        f"{rung}.{key}": choices
        for rung in ("mlp", "transformer")
        for key, choices in {
            "activation": ("relu", "relu_squared", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu"),
            "optimizer.name": tuple(OPTIMIZER_SETTINGS),
            "schedule.name": tuple(SCHEDULE_SETTINGS),
        }.items()
    },
    "mlp.network": ("mlp", "rnn", "gru"),
    "transformer.norm": ("layernorm", "rmsnorm", "none"),
    "transformer.positions": ("learned", "sinusoidal", "rotary", "none"),
    "evaluate.checkpoint": ("latest", "best"),
    "evaluate.splits": ("val", "test"),
}


def validate(config: Config) -> None:
    """Raise InputError, naming the key, for a number out of range or settings that do not fit."""
    _validate_values("", config)
    tokenizer = config.tokenizer
    for key, users, needed in (
        ("vocabulary_size", ("word", "bpe"), tokenizer.name == "bpe"),
        ("unknown", ("word",), tokenizer.name == "word"),
        ("path", ("checkpoint",), tokenizer.name == "checkpoint"),
    ):
        given = getattr(tokenizer, key)
        if given is None and needed:
            raise InputError(
                f"tokenizer.name={tokenizer.name} needs its {key}; "
                f"choose it whole with tokenizer={tokenizer.name}"
            )
        if given is not None and tokenizer.name not in users:
            raise InputError(
                f"tokenizer.{key}={given} has no effect with tokenizer.name={tokenizer.name}; "
                f"it is for {' and '.join(users)}"
            )
    _validate_watch("tokenizer.path", tokenizer.path, tokenizer.watch, "tokenizer=checkpoint")
    init_from, watch = config.transformer.init_from, config.transformer.watch
    _validate_watch("transformer.init_from", init_from, watch, "transformer=from_checkpoint")
    for name, rung in (("mlp", config.mlp), ("transformer", config.transformer)):
        _validate_rung(name, rung)
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
    split = config.data.split
    if abs(split.train + split.val + split.test - 1) > 1e-9:
        raise InputError(
            f"data.split must sum to 1, not {split.train} + {split.val} + {split.test}"
        )


def validate_rung(name: str, rung: MlpConfig | TransformerConfig) -> None:
    """The same for a rung alone, such as that of a checkpoint."""
    _validate_values(name, rung)
    _validate_rung(name, rung)


def _validate_values(path: str, config: Any) -> None:
    """Raise InputError for a value, at `path` or below, that is out of range or no choice."""
    outer_first = sorted(_leaves(path, config), key=lambda leaf: leaf[0].count("."))
    for path, value in outer_first:  # as inner values may be theirs, such as a row_length
        key = path.rsplit(".", 1)[-1]
        for number in value if isinstance(value, list | tuple) else [value]:
            if path in CHOICES and number not in (*CHOICES[path], None):
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
        if key == "betas" and value is not None and len(value) != 2:
            raise InputError(f"{path} must be two numbers, not {len(value)}")


def _validate_watch(key: str, path: str | None, watch: str | None, option: str) -> None:
    """Raise InputError unless the file at `path`, if any, is the one whose change DVC sees."""
    if watch is None:
        raise InputError(f"{key} has no value; give {key}=...")
    if path not in (None, watch):
        raise InputError(f"{key}={path}, but {watch} is watched; choose {option} {key}={path}")


def _validate_rung(name: str, rung: MlpConfig | TransformerConfig) -> None:
    """Raise InputError for settings of the rung `name` that do not fit each other."""
    optimizer, schedule, training = rung.optimizer, rung.schedule, rung.training
    _validate_settings(name, "optimizer", optimizer, OPTIMIZER_SETTINGS[optimizer.name])
    _validate_settings(name, "schedule", schedule, SCHEDULE_SETTINGS[schedule.name])
    if schedule.warmup_steps >= training.steps:
        raise InputError(
            f"{name}.schedule.warmup_steps={schedule.warmup_steps} leaves nothing of "
            f"{name}.training.steps={training.steps}"
        )
    if schedule.warmup_steps + schedule.decay_steps(training.steps) > training.steps:
        raise InputError(
            f"{name}.schedule.warmup_steps={schedule.warmup_steps} and "
            f"{name}.schedule.decay_fraction={schedule.decay_fraction} are together more than "
            f"{name}.training.steps={training.steps}"
        )
    if training.batch_size % training.accumulate:
        raise InputError(
            f"{name}.training.accumulate={training.accumulate} does not divide "
            f"{name}.training.batch_size={training.batch_size}"
        )
    validate_architecture(rung)
    any_length = isinstance(rung, MlpConfig) and rung.network == "mlp"
    if not any_length and training.row_length > rung.context_length:
        raise InputError(
            f"{name}.training.row_length={training.row_length} is more than "
            f"{name}.context_length={rung.context_length}"
        )


def _validate_settings(
    rung: str, group: str, chosen: OptimizerConfig | ScheduleConfig, used: tuple[str, ...]
) -> None:
    """Raise InputError if a setting that `chosen` uses is null, or one that it does not is not."""
    path = f"{rung}.{group}"
    remedy = f"choose it whole with {group}@{path}={chosen.name}"
    for key in (each.name for each in fields(chosen) if each.name != "name"):
        value = getattr(chosen, key)
        if value is None and key in used:
            raise InputError(f"{path}.name={chosen.name} needs {key}; {remedy}")
        if value is not None and key not in used:
            raise InputError(
                f"{path}.{key}={value} means nothing to {path}.name={chosen.name}; "
                f"{remedy}, or make it null"
            )


def validate_architecture(architecture: MlpArchitecture | TransformerArchitecture) -> None:
    """Raise InputError, naming the key, for a name that is none or choices that do not fit."""
    rung = "mlp" if isinstance(architecture, MlpArchitecture) else "transformer"
    for each in fields(architecture):
        choices, value = CHOICES.get(f"{rung}.{each.name}"), getattr(architecture, each.name)
        if choices and value not in choices:
            raise InputError(f"{rung}.{each.name} must be one of {', '.join(choices)}, not {value}")
    if isinstance(architecture, MlpArchitecture):
        _validate_mlp(architecture)
    else:
        _validate_transformer(architecture)


def _validate_mlp(mlp: MlpArchitecture) -> None:
    if mlp.network == "mlp":
        return
    if mlp.activation != "tanh":
        raise InputError(
            f"mlp.activation={mlp.activation} is not that of mlp.network={mlp.network}: tanh"
        )
    if not mlp.hidden_sizes:
        raise InputError(f"mlp.hidden_sizes is empty; mlp.network={mlp.network} needs a layer")


def _validate_transformer(transformer: TransformerArchitecture) -> None:
    n_head, d_model = transformer.n_head, transformer.d_model
    if n_head < 1 or d_model % n_head:
        raise InputError(
            f"transformer.n_head={n_head} does not divide transformer.d_model={d_model}"
        )
    if transformer.positions == "rotary" and d_model // n_head % 2:
        raise InputError(
            f"transformer.positions=rotary turns pairs of numbers: transformer.d_model={d_model} / "
            f"transformer.n_head={n_head} must be even"
        )
    if transformer.positions == "sinusoidal" and d_model % 2:
        raise InputError(
            f"transformer.positions=sinusoidal makes pairs of numbers: "
            f"transformer.d_model={d_model} must be even"
        )
    width = transformer.feed_forward_factor * d_model
    if not 1 <= width < math.inf:
        raise InputError(
            f"transformer.feed_forward_factor={transformer.feed_forward_factor} gives a "
            f"feed-forward layer of no width"
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


def _refuse_nested(config: Any) -> None:
    """Raise InputError for a list in a list or the like, which OmegaConf takes for any item."""
    for path, value in _leaves("", config):
        if isinstance(value, list) and any(isinstance(each, list | dict) for each in value):
            raise InputError(f"{path} must be a list of single values, not {value}")


def _missing(path: str, node: DictConfig) -> Iterator[str]:
    """Dotted paths of values that are left to the user; interpolations are not followed."""
    for key in node:
        name = str(key)
        if OmegaConf.is_missing(node, name):
            yield path + name
        elif not OmegaConf.is_interpolation(node, name) and OmegaConf.is_dict(node[name]):
            yield from _missing(f"{path}{name}.", node[name])


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys: {"data": {"seed": 0}} as {"data.seed": 0}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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
