"""What types cannot say: numbers out of range, names that are none, settings that do not fit."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from lmladder.config.schema import (
    Config,
    MlpArchitecture,
    MlpConfig,
    OptimizerConfig,
    ScheduleConfig,
    TransformerArchitecture,
    TransformerConfig,
)
from lmladder.errors import InputError

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
    outer_first = sorted(leaves(path, config), key=lambda leaf: leaf[0].count("."))
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


def leaves(path: str, node: Any) -> list[tuple[str, Any]]:
    """(dotted path, value) of every value in nested dataclasses."""
    if not is_dataclass(node):
        return [(path, node)]
    prefix = f"{path}." if path else ""
    return [
        leaf
        for each in fields(node)
        for leaf in leaves(prefix + each.name, getattr(node, each.name))
    ]
