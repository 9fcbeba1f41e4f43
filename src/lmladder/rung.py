"""What the stages of the rungs share: the text they read, training, checkpoints and samples."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from lmladder import kernels
from lmladder.atomic import atomic_write, write_json
from lmladder.checkpoint import Checkpoint, code_digest
from lmladder.config import BigramConfig, Config, MlpConfig, SampleConfig, TransformerConfig
from lmladder.errors import InputError
from lmladder.models import LanguageModel, NeuralLanguageModel, build_neural
from lmladder.models.counts import CountTables
from lmladder.rng import stream
from lmladder.sampling import BeamSearch, Strategy, complete
from lmladder.scoring import BLOCK_NATS, BlockNats
from lmladder.stage import Done, data_settings
from lmladder.text import Prepared
from lmladder.training import (
    BEST,
    LATEST,
    TrainingRun,
    discard_unfinished,
    row_nats,
    row_starts,
    train,
    validation_rows,
)

import numpy as np

# Of an architecture, what may change when training goes on from given weights.
FREE = ("dropout", "init_deviation", "residual_scaling")
PROMPT_TOKENS = 16  # of the validation text, where the configuration names no prompt


def train_rung(
    kind: str, rung: MlpConfig | TransformerConfig, config: Config, out: Path, ladder: Path
) -> Done:
    """Train a neural rung; write its checkpoints, history, metrics and samples to `out`.

    The objective is nats per token of the validation rows: of the checkpoint that
    `evaluate.checkpoint` names, so that a search chooses by what would stand in the table.
    """
    kernels.select(config.runtime.kernels)
    prepared = open_prepared(config, ladder)
    prompt = sample_prompt(config.sample, prepared)
    begun = first_checkpoint(kind, rung, config.seed, prepared)
    run = begin(begun, rung, prepared, out)
    finished, speed = train(run)
    model = run.model
    validated = finished.history[1:]
    nats = {"latest": validated[-1]["val_nats"], "best": min(row["val_nats"] for row in validated)}
    write_json(
        out / "metrics.json",
        {
            "parameters": model.n_parameters,
            "steps": finished.step,
            "train_nats": round(validated[-1]["train_nats"], 6),
            "val_nats": round(nats["latest"], 6),
            "best_val_nats": round(nats["best"], 6),
        },
    )
    atomic_write(out / BLOCK_NATS, _validation_blocks(model, rung, prepared).to_csv().encode())
    write_samples(
        out / "samples.txt",
        {model.name: model},
        prompt,
        config=config.sample,
        prepared=prepared,
        seed=config.seed,
        stage=kind,
    )
    discard_unfinished(out)
    print(f"{kind}: {nats['latest']:.4f} nats/token on validation rows -> {out}")
    return Done(tokens_per_second=speed, objective=nats[config.evaluate.checkpoint])


def begin(
    origin: Checkpoint, rung: MlpConfig | TransformerConfig, prepared: Prepared, out: Path
) -> TrainingRun:
    """The run that `origin` tells of, before its first step, with its first weights."""
    rng = stream(origin.seed, f"{origin.kind} weights")
    model = build_neural(rung, origin.vocabulary_size, rng=rng)
    if isinstance(rung, TransformerConfig) and rung.init_from is not None:
        given = load_initial(model, Path(rung.init_from), rung, prepared)
        origin = replace(origin, init_digest=given)
    return TrainingRun(model, origin, rung, prepared.train, prepared.val, out)


def count(origin: Checkpoint, config: BigramConfig, prepared: Prepared) -> Checkpoint:
    """`origin` with what the count models learn: how often each n-gram is in the training text."""
    order = max([3, *config.kneser_ney_orders])  # the ladder has a trigram in any case
    tables = CountTables.count(prepared.train, origin.vocabulary_size, order)
    return replace(origin, model=tables.arrays())


def _validation_blocks(
    model: NeuralLanguageModel, rung: MlpConfig | TransformerConfig, prepared: Prepared
) -> BlockNats:
    """Nats of each row that validation reads, as a block; their mean is `val_nats`."""
    training = rung.training
    shape = training.row_length, training.evaluate_tokens
    nats = row_nats(model, training, validation_rows(prepared.val, *shape))
    return BlockNats(
        prepared.digest,
        tuple((row_starts(len(prepared.val), *shape) + 1).tolist()),  # a row's first token is given
        (training.row_length,) * len(nats),
        {model.name: nats.sum(axis=1, dtype=np.float64)},
    )


def open_prepared(config: Config, ladder: Path) -> Prepared:
    """A ladder's text, whole and as this configuration wants it; InputError with the remedy."""
    prepared = Prepared.open(ladder / "prepare")
    prepared.require_settings(data_settings(config))
    prepared.verify()
    return prepared


def first_checkpoint(kind: str, config: Any, seed: int, prepared: Prepared) -> Checkpoint:
    """The checkpoint of a run that has not begun: all that decides it, no arrays."""
    return Checkpoint(
        kind=kind,
        config=asdict(config),
        seed=seed,
        vocabulary_size=prepared.tokenizer.vocabulary_size,
        tokenizer=prepared.tokenizer.to_json(),
        data_digest=prepared.digest,
        code_digest=training_code_digest(),
    )


def training_code_digest() -> str:
    """sha256 of all source that trains a rung, as a checkpoint of this code holds it."""
    return code_digest(Path(__file__))


def load_initial(
    model: NeuralLanguageModel, path: Path, rung: TransformerConfig, prepared: Prepared
) -> str:
    """Give the model the weights of a checkpoint; sha256 of that file.

    Raises
    ------
    InputError
        If the file is no checkpoint of such a model on such tokens; names the setting that differs.
    """
    source = Checkpoint.load(path)
    if source.kind != "transformer":
        raise InputError(f"transformer.init_from: {path} holds no Transformer, but {source.kind!r}")
    held = source.architecture()
    for each in fields(held):
        ours, theirs = getattr(rung, each.name), getattr(held, each.name)
        if each.name not in FREE and ours != theirs:
            raise InputError(
                f"transformer.init_from: the model in {path} has transformer.{each.name}={theirs}, "
                f"not {ours}"
            )
    if source.tokenizer != prepared.tokenizer.to_json():
        raise InputError(
            f"transformer.init_from: {prepared.directory} has other tokens than the model in "
            f"{path}; run `python stages/compose.py tokenizer=checkpoint tokenizer.path={path} "
            "...`, then `dvc repro prepare`"
        )
    try:
        model.load(source.model)
    except ValueError as error:
        raise InputError(f"{path} does not fit its own configuration: {error}") from None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_rung(
    kind: str, rung: Any, seed: int, prepared: Prepared, which: str = "latest"
) -> Checkpoint:
    """A rung's latest or best checkpoint, beside its text, if this configuration trained it."""
    path = prepared.directory.parent / kind / {"latest": LATEST, "best": BEST}[which]
    if not path.exists():
        raise InputError(f"there is no {path}; run `dvc repro {kind}`")
    checkpoint = Checkpoint.load(path)
    if checkpoint.data_digest != prepared.digest:
        raise InputError(f"{path} was not trained on {prepared.directory}; run `dvc repro {kind}`")
    asked = json.loads(json.dumps(asdict(rung)))  # tuples are lists in a checkpoint
    if (checkpoint.config, checkpoint.seed) != (asked, seed):
        raise InputError(
            f"{path} was trained with other settings than this run's; run "
            f"`python stages/compose.py` with the settings of this run, then `dvc repro {kind}`"
        )
    return checkpoint


def sample_prompt(config: SampleConfig, prepared: Prepared) -> list[int]:
    """Tokens that samples begin with; InputError, before training, if they cannot be encoded."""
    if config.prompt is None:
        return [int(token) for token in prepared.val[:PROMPT_TOKENS]]
    if not config.prompt:
        raise InputError("sample.prompt is empty; give at least one token to continue, or null")
    return [int(token) for token in prepared.tokenizer.encode(config.prompt)]


def write_samples(
    path: Path,
    models: Mapping[str, LanguageModel],
    prompt: list[int],
    *,
    config: SampleConfig,
    prepared: Prepared,
    seed: int,
    stage: str,
) -> None:
    """Continued prompts, a blank line between; under a heading a model, but for the stage's own."""
    strategy: Strategy | BeamSearch
    if config.beams is None:
        strategy = Strategy(
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            min_p=config.min_p,
            repetition_penalty=config.repetition_penalty,
        )
    else:
        strategy = BeamSearch(config.beams)
    parts = []
    for name, model in models.items():
        samples = complete(
            model,
            prepared.tokenizer,
            prompt,
            tokens=config.tokens,
            strategy=strategy,
            seed=seed,
            samples=config.samples,
            stop=config.stop,
        )
        heading = f"== {name} ==\n" if list(models) != [stage] else ""
        parts.append(heading + "\n\n".join(each.prompt + each.text for each in samples) + "\n")
    atomic_write(path, "\n".join(parts).encode("utf-8", "surrogateescape"))
