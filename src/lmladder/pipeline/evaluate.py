"""The last stage: scores the same text with every rung; writes table, figures and report."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lmladder.config import Config
from lmladder.data import SPLITS, Prepared
from lmladder.evaluation import ContextLosses, Score, reliability_of, score_models, split_nll
from lmladder.evaluation.audit import FAILED, PASSED, audit, names_of, subject_of
from lmladder.evaluation.guests import convert
from lmladder.evaluation.inspection import attention_maps, pieces, pointer_map
from lmladder.evaluation.ladder import READING, longest_context, predict_models
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.evaluation.truth import Excess, compare_with_truth, is_known
from lmladder.models import GROUPS, Kind, LanguageModel, kind_named, label, restore_models
from lmladder.models.contract import own_tokenizer
from lmladder.models.oracle import Oracle
from lmladder.models.transformer import Transformer
from lmladder.pipeline.results import of_whole_text, save_record
from lmladder.pipeline.rungs import ORACLE, rungs_of
from lmladder.pipeline.text import open_text
from lmladder.reports.attention import Attention
from lmladder.reports.detail import (
    calibration_errors,
    calibration_table,
    excess_table,
    position_table,
)
from lmladder.reports.figures.gallery import result_figures, truth_figures
from lmladder.reports.figures.style import as_svg
from lmladder.reports.findings import findings
from lmladder.reports.html import Passage, render_report
from lmladder.reports.table import Row, ladder_grid, ladder_table, metrics, print_table, to_csv
from lmladder.reports.text import to_text, token_labels
from lmladder.sampling import BeamSearch, SampleSettings, complete
from lmladder.system.arrays import IntArray
from lmladder.system.errors import STATUS_FILE, InputError
from lmladder.system.files import atomic_write, write_json
from lmladder.training.checkpoint import METRICS, Checkpoint

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

PROMPT_TOKENS = 16  # of a validation text without documents, if sample.prompt is null
PASSAGE_TOKENS = 600
ATTENTION_TOKENS = 320
SAMPLES = "samples.txt"

Scores: TypeAlias = Mapping[tuple[str, str], Score]  # by model and split


@dataclass(frozen=True)
class Entry:
    """A model of a ladder, and where it is from.

    Attributes
    ----------
    rung : the folder of its rung
    checkpoint : of its rung, which may have several models
    """

    model: LanguageModel
    rung: str
    checkpoint: Checkpoint

    @property
    def kind(self) -> type[Kind]:
        return kind_named(self.checkpoint.kind)

    @property
    def is_informed(self) -> bool:
        """Whether it is not the uniform model."""
        return bool(self.model.n_parameters) or self.kind.is_truth

    @property
    def reads_crops(self) -> bool:
        """Whether it has the tokens of the text, and predicts sequences that begin anywhere.

        The truth, and what mixes it with others, do not predict those that begin within a story.
        """
        knows = any(kind_named(each).is_truth for each in self.checkpoint.kinds)
        return own_tokenizer(self.model) is None and not knows


@dataclass(frozen=True)
class Ladder:
    """The models of all rungs on one text, by name."""

    prepared: Prepared
    entries: Mapping[str, Entry]

    @classmethod
    def of(cls, checkpoints: Mapping[str, Checkpoint], prepared: Prepared) -> "Ladder":
        """Return the models of checkpoints by the folders of their rungs.

        Raises InputError if two models have the same name.
        """
        entries: dict[str, Entry] = {}
        for folder, checkpoint in checkpoints.items():
            for name, model in restore_models(checkpoint).items():
                if name in entries:
                    raise InputError(
                        f"{entries[name].rung} and {folder} both contain a model {name}"
                    )
                entries[name] = Entry(model, folder, checkpoint)
        return cls(prepared, entries)

    def models(self, chosen: Callable[[Entry], bool]) -> dict[str, LanguageModel]:
        """Return the models of the chosen entries."""
        return {name: each.model for name, each in self.entries.items() if chosen(each)}

    @property
    def histories(self) -> dict[str, pd.DataFrame]:
        """The history of each model that is trained by steps, up to its checkpoint."""
        return {
            name: pd.DataFrame(each.checkpoint.history)
            for name, each in self.entries.items()
            if each.kind.by_steps
        }

    def rows(self, scores: Scores, crops: Scores, excess: Mapping[str, Excess]) -> list[Row]:
        """Audit the models that are not built in; return the rows of the table.

        They include the oracle if the text has one. Where it is not one of the models, the
        probabilities of whole stories are known.

        Parameters
        ----------
        excess : over all tokens, by model; it is of no split
        """
        rows, splits, audits = [], self.prepared.corpus.splits, dict[str, str]()
        last = max((split for _, split in scores), key=SPLITS.index)
        errors = {
            split: (each.oracle.standard_error_nats or math.nan) / each.tokens
            for split, each in splits.items()
            if each.oracle is not None
        }
        for (name, split), score in scores.items():
            entry = self.entries[name]
            if name not in audits:  # of the first split
                audits[name] = self._audit(name, split, score)
            facts: dict[str, Any] = {"audit": audits[name]}
            if entry.kind.is_truth:
                facts["standard_error"] = errors.get(split)
            if (name, split) in crops:
                facts["crop_nats_per_token"] = crops[name, split].nats_per_token
            # Of the last text alone: there each model is scored with all that was fitted of it.
            if split == last and name in excess:
                facts["excess_nats_per_token"] = excess[name].excess
                facts["excess_standard_error"] = excess[name].standard_error
            names, size = (name, entry.checkpoint.kind, entry.rung), entry.model.n_parameters
            steps = entry.checkpoint.step if entry.kind.by_steps else None
            rows.append(Row(*names, split, score, size, steps, **facts))
        if ORACLE.name not in self.entries:
            names = ORACLE.name, ORACLE.settings.kind, ORACLE.folder
            for split in dict.fromkeys(split for _, split in scores):
                if (oracle := splits[split].oracle) is not None:
                    truth = Score(splits[split].tokens, splits[split].bytes, oracle.nats)
                    rows.append(Row(*names, split, truth, None, None, errors[split]))
        return rows

    def _audit(self, name: str, split: str, score: Score) -> str:
        """Return "passed" or the failed checks of a model; empty if it is built in."""
        checkpoint = self.entries[name].checkpoint
        if not any(kind_named(kind).is_foreign for kind in checkpoint.kinds):
            return ""
        findings = audit(subject_of(checkpoint, name, self.prepared, split, nats=score.nats))
        for each in findings:
            if each.status == FAILED:
                print(f"evaluate: {name} fails {each.check}: {each.detail}")
        return names_of(findings, FAILED) or PASSED

    def excess(self, settings: EvaluateSettings) -> list[Excess]:
        """Return how far the models are from the truth; nothing where it is not known."""
        truth = self.models(lambda each: each.kind.is_truth).get(ORACLE.name)
        if not isinstance(truth, Oracle):
            return []
        models = self.models(lambda each: each.model is not truth and not own_tokenizer(each.model))
        return compare_with_truth(models, truth, self.prepared, settings)

    def passage(self) -> Passage:
        """Return the loss of each token at the beginning of the validation text."""
        tokens = self.prepared.val[:PASSAGE_TOKENS]
        options = READING | {"batch_tokens": PASSAGE_TOKENS}
        texts: Sequence[str] = ()
        nats: dict[str, Sequence[float]] = {}
        for name, model in self.models(lambda each: each.is_informed).items():
            found = split_nll(model, self.prepared, "val", PASSAGE_TOKENS, **options)
            texts, nats[name] = zip(*pieces(self.prepared.tokenizer, tokens, found), strict=True)
        return Passage(texts, nats)

    def attention(self) -> Attention | None:
        """Return the attention of the first Transformer in the passage; None without one.

        It is that of the prediction to which the pointer adds most. None also if nothing follows
        the first token.
        """
        for name, each in self.entries.items():
            if isinstance(model := each.model, Transformer):
                tokens = self.prepared.val[: min(ATTENTION_TOKENS, model.context_length)]
                if len(tokens) < 2:
                    return None
                pointer, added = pointer_map(model, tokens)
                last = int(added.argmax()) if added.any() else len(tokens) - 2
                maps = {"Pointer": pointer[last, : last + 1]} if len(pointer) else {}
                weights = attention_maps(model, tokens)[:, :, last, : last + 1]
                for layer, head in np.ndindex(weights.shape[:2]):
                    maps[f"Layer {layer + 1}, head {head + 1}"] = weights[layer, head]
                labels = token_labels(self.prepared.tokenizer, tokens[: last + 2])
                return Attention(label(name, each.checkpoint.kind), labels, maps, added[last])
        return None

    def samples(self, settings: SampleSettings, seed: int) -> dict[str, str]:
        """Return the continued prompts of each model by name, separated by blank lines."""
        strategy = settings if settings.beams is None else BeamSearch(settings.beams)
        found = {}
        for name, model in self.models(lambda each: each.is_informed).items():
            made = complete(
                model,
                own_tokenizer(model) or self.prepared.tokenizer,
                prompt_of(model, self.prepared, settings.prompt).tolist(),
                tokens=settings.tokens,
                strategy=strategy,
                seed=seed,
                samples=settings.samples,
                stop=settings.stop,
            )
            found[name] = "\n\n".join(each.prompt + each.text for each in made)
        return found


def prompt_of(model: LanguageModel, prepared: Prepared, prompt: str | None) -> IntArray:
    """Return a prompt in the tokens of a model.

    By default, it is the end of a document, after which another begins; in a text without
    documents, the beginning of the validation text.
    """
    own = own_tokenizer(model)
    if prompt is not None:
        try:
            return (own or prepared.tokenizer).encode(prompt)
        except InputError as error:
            raise InputError(f"sample.prompt: {error}") from None
    if own is not None:
        text = convert(own, model.context_length, prepared, "val")
        return text.tokens[text.positions < PROMPT_TOKENS]
    is_whole = prepared.tokenizer.eos is None
    return prepared.val[:PROMPT_TOKENS] if is_whole else prepared.val[-1:]


def evaluate(config: Config, folder: Path, ladder: Path) -> float | None:
    """Score all rungs; write the table, the samples, the figures and the report to a folder.

    Returns the lowest bits per byte of the trained rungs on the validation text.
    """
    prepared = open_text(config, ladder)
    settings = config.evaluate
    checkpoints = {
        rung.folder: rung.load(config.seed, prepared, settings.checkpoint)
        for rung in (*([ORACLE] if is_known(prepared) else []), *rungs_of(config))
    }
    for group in GROUPS:
        (ladder / group).mkdir(exist_ok=True)  # a dependency in dvc.yaml, even if empty
    rungs = Ladder.of(checkpoints, prepared)
    samples = rungs.samples(config.sample, config.seed)
    print(f"evaluate: samples are drawn; scores of {len(rungs.entries)} models", flush=True)
    scores = score_models(rungs.models(lambda each: True), prepared, settings)
    on_crops = rungs.models(lambda each: each.reads_crops)
    crops = score_models(on_crops, prepared, settings, "on crops", longest_context(on_crops))
    excess = rungs.excess(settings)
    overall = {each.model: each for each in excess if each.by == "all"}
    rows = rungs.rows(scores, crops, overall)
    print("evaluate: tables, figures and report", flush=True)
    table = ladder_table(rows)
    fitted = {name: each for name, each in on_crops.items() if each.n_parameters}
    predicted = {
        name: each
        for name, each in predict_models(fitted, prepared, settings.batch_tokens).items()
        if np.isfinite(each).all()  # else it has no curve
    }
    positions = position_table(
        {name: ContextLosses.of_sequences(each[..., 0]) for name, each in predicted.items()}
    )
    calibration = calibration_table(
        {name: reliability_of(each, settings.min_context) for name, each in predicted.items()}
    )
    drawn = result_figures(table, rungs.histories, positions, calibration)
    figures = {name: as_svg(each) for name, each in drawn.items()}
    distances = excess_table(excess)
    finite = [name for name, each in overall.items() if math.isfinite(each.excess)]
    drawable = distances[distances["model"].isin(finite)]
    of_truth = truth_figures(table, drawable)  # no files, as they may be missing
    page = render_report(
        title=f"lmladder on {prepared.corpus.name}",
        summary=findings(table),
        table=table,
        figures=[*drawn.values(), *of_truth.values()],
        samples=samples,
        passage=rungs.passage(),
        attention=rungs.attention(),
        corpus=prepared.corpus,
        seeds=[each.seed for each in checkpoints.values()],
        config=OmegaConf.to_yaml(OmegaConf.create(config.relevant)),
    )
    texts = {
        "perplexity.csv": to_csv(table),
        "perplexity.md": ladder_grid(table).to_markdown(),
        SAMPLES: to_text(samples),
        "position.csv": to_csv(positions),
        "calibration.csv": to_csv(calibration),
        "excess.csv": to_csv(distances),
        **{f"{name}.svg": figure for name, figure in figures.items()},
        "report.html": page,
    }
    for name, text in texts.items():
        atomic_write(folder / name, text.encode("utf-8", "surrogateescape"))
    of_splits = metrics(table)
    errors = calibration_errors(calibration)
    of_splits.setdefault("val", {})["expected_calibration_error"] = errors
    write_json(folder / METRICS, of_splits)
    val = [row for row in rows if row.split == "val" and row.rung]
    facts = ((row.model, row.kind, row.rung, row.score, prepared, row.audit) for row in val)
    save_record(folder, config, prepared, [of_whole_text(*each) for each in facts])
    if STATUS_FILE not in os.environ:  # else `lmladder run` prints it
        print_table(table)
    print(f"evaluate: perplexity.csv, report.html and {len(figures)} figures -> {folder}")
    trained = [row for row in val if row.steps is not None and row.audit in ("", PASSED)]
    return min((row.score.bits_per_byte for row in trained), default=None)
