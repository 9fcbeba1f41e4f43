"""The last stage: scores the same text with every rung; writes table, figures and report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lmladder import reports
from lmladder.config import Config
from lmladder.data import SPLITS, Prepared
from lmladder.evaluation import (
    ContextLosses,
    Score,
    longest_context,
    passage_nll,
    predict_models,
    reliability_of,
    score_models,
)
from lmladder.evaluation.audit import FAILED, PASSED, audit, failures, subject_of
from lmladder.evaluation.guests import convert
from lmladder.evaluation.inspection import attention_maps, has_attention, pieces
from lmladder.evaluation.settings import EvaluateSettings
from lmladder.evaluation.truth import Excess, compare_with_truth, is_known
from lmladder.models import GROUPS, LanguageModel, kind_named, restore_models
from lmladder.models.contract import own_tokenizer
from lmladder.models.mixture import Mixture
from lmladder.models.oracle import Oracle
from lmladder.pipeline.results import of_whole_text, plain_settings, save_record
from lmladder.pipeline.rungs import ORACLE, rungs_of
from lmladder.pipeline.text import open_text
from lmladder.reports import Attention, Passage, Row
from lmladder.sampling import BeamSearch, SampleSettings, complete
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write, write_json
from lmladder.training.checkpoint import Checkpoint

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

PROMPT_TOKENS = 16  # of a validation text without documents, if sample.prompt is null
PASSAGE_TOKENS = 600
ATTENTION_TOKENS = 20
SAMPLES = "samples.txt"


@dataclass(frozen=True)
class Ladder:
    """The models of all rungs on one text.

    Attributes
    ----------
    models : by name
    rungs : the folder of the rung of each model
    checkpoints : by the folder of the rung
    """

    prepared: Prepared
    models: Mapping[str, LanguageModel]
    rungs: Mapping[str, str]
    checkpoints: Mapping[str, Checkpoint]

    @classmethod
    def of(cls, checkpoints: Mapping[str, Checkpoint], prepared: Prepared) -> "Ladder":
        """Return the models of all checkpoints; raise InputError if two have the same name."""
        models: dict[str, LanguageModel] = {}
        rungs: dict[str, str] = {}
        for folder, checkpoint in checkpoints.items():
            for name, model in restore_models(checkpoint).items():
                if name in models:
                    raise InputError(f"{rungs[name]} and {folder} both contain a model {name}")
                models[name], rungs[name] = model, folder
        return cls(prepared, models, rungs, checkpoints)

    def steps(self, name: str) -> int | None:
        """Return the training steps of a model; None if it is not trained by steps."""
        by_steps = kind_named(self.kind(name)).by_steps
        return self.checkpoints[self.rungs[name]].step if by_steps else None

    @property
    def histories(self) -> dict[str, pd.DataFrame]:
        """The history of each model that is trained by steps, up to its checkpoint."""
        by_steps = [name for name in self.models if self.steps(name) is not None]
        return {name: pd.DataFrame(self.checkpoints[self.rungs[name]].history) for name in by_steps}

    def kind(self, name: str) -> str:
        """Return the kind of the rung of a model."""
        return self.checkpoints[self.rungs[name]].kind

    def is_truth(self, name: str) -> bool:
        """Return whether a model is the distribution that the text was drawn from."""
        return kind_named(self.kind(name)).is_truth

    def has_truth(self, name: str) -> bool:
        """Return whether a model is the true distribution, or mixes it with others.

        It does not predict sequences that begin within a story.
        """
        model = self.models[name]
        members = model.members if isinstance(model, Mixture) else [model]
        return any(isinstance(each, Oracle) for each in members)

    @property
    def on_crops(self) -> dict[str, LanguageModel]:
        """The models with the tokens of the text that predict sequences that begin anywhere."""
        return {
            name: each
            for name, each in self.models.items()
            if not self.has_truth(name) and own_tokenizer(each) is None
        }

    @property
    def informed(self) -> dict[str, LanguageModel]:
        """All models but the uniform one."""
        return {k: each for k, each in self.models.items() if each.n_parameters or self.is_truth(k)}

    def rows(
        self,
        scores: Mapping[tuple[str, str], Score],
        crops: Mapping[tuple[str, str], Score],
        excesses: Mapping[str, tuple[float, float]],
        audits: Mapping[str, str],
    ) -> list[Row]:
        """Return the rows of the table, including the oracle if the text has one.

        Where the oracle is not one of the models, the probabilities of whole stories are known.
        `excesses` has the excess of models and its standard error, which are of no split.
        """
        rows, facts = [], self.prepared.corpus.splits
        last = max((split for _, split in scores), key=SPLITS.index)
        errors: dict[str, float | None] = {
            split: (each.oracle.standard_error_nats or math.nan) / each.tokens
            for split, each in facts.items()
            if each.oracle is not None
        }
        for (name, split), score in scores.items():
            crop = crops[name, split].nats_per_token if (name, split) in crops else None
            error = errors.get(split) if self.is_truth(name) else None
            size, rung, kind = self.models[name].n_parameters, self.rungs[name], self.kind(name)
            # Of the last text alone: there each model is scored with all that was fitted of it.
            excess = excesses[name] if split == last and name in excesses else (None, None)
            steps = self.steps(name)
            row = Row(name, split, score, size, steps, error, crop, kind, rung, *excess)
            rows.append(replace(row, audit=audits.get(name, "")))
        if ORACLE.name not in self.models:
            for split in dict.fromkeys(split for _, split in scores):
                if (oracle := facts[split].oracle) is not None:
                    truth = Score(facts[split].tokens, facts[split].bytes, oracle.nats)
                    rows.append(Row(ORACLE.name, split, truth, None, None, errors[split]))
        return rows

    def audits(self, scores: Mapping[tuple[str, str], Score]) -> dict[str, str]:
        """Return "passed" or the failed checks of each model that is not built in.

        The audit is of the first split that is scored.
        """
        found = {}
        for name, split in scores:
            checkpoint = self.checkpoints[self.rungs[name]]
            if name not in found and any(kind_named(kind).is_foreign for kind in checkpoint.kinds):
                nats = scores[name, split].nats
                subject = subject_of(checkpoint, name, self.prepared, split, nats=nats)
                findings = audit(subject)
                found[name] = failures(findings) or PASSED
                for each in findings:
                    if each.status == FAILED:
                        print(f"evaluate: {name} fails {each.check}: {each.detail}")
        return found

    def excess(self, settings: EvaluateSettings) -> list[Excess]:
        """Return how far the models are from the truth; nothing where it is not known."""
        truth = self.models.get(ORACLE.name)
        if not isinstance(truth, Oracle):
            return []
        models = {
            name: each
            for name, each in self.models.items()
            if not self.is_truth(name) and own_tokenizer(each) is None
        }
        return compare_with_truth(models, truth, self.prepared, settings)

    def passage(self) -> Passage:
        """Return the loss of each token at the beginning of the validation text."""
        tokens = self.prepared.val[:PASSAGE_TOKENS]
        texts: Sequence[str] = ()
        nats: dict[str, Sequence[float]] = {}
        for name, each in passage_nll(self.informed, self.prepared, PASSAGE_TOKENS).items():
            texts, nats[name] = zip(*pieces(self.prepared.tokenizer, tokens, each), strict=True)
        return Passage(texts, nats)

    def attention(self) -> Attention | None:
        """Return the attention of the first model that has any, at the same place; or None."""
        for model in self.models.values():
            if has_attention(model):
                tokens = self.prepared.val[: min(ATTENTION_TOKENS, model.context_length)]
                labels = reports.token_labels(self.prepared.tokenizer, tokens)
                return Attention(labels, attention_maps(model, tokens))
        return None

    def samples(self, settings: SampleSettings, seed: int) -> dict[str, str]:
        """Return the continued prompts of each model by name, separated by blank lines."""
        strategy = settings if settings.beams is None else BeamSearch(settings.beams)
        found = {}
        for name, model in self.informed.items():
            made = complete(
                model,
                own_tokenizer(model) or self.prepared.tokenizer,
                self._prompt(model, settings).tolist(),
                tokens=settings.tokens,
                strategy=strategy,
                seed=seed,
                samples=settings.samples,
                stop=settings.stop,
            )
            found[name] = "\n\n".join(each.prompt + each.text for each in made)
        return found

    def _prompt(self, model: LanguageModel, settings: SampleSettings) -> IntArray:
        """Return the prompt in the tokens of a model; by default, its first ones of validation."""
        own = own_tokenizer(model)
        if settings.prompt is not None:
            try:
                return (own or self.prepared.tokenizer).encode(settings.prompt)
            except InputError as error:
                raise InputError(f"sample.prompt: {error}") from None
        if own is None:
            # The end of a document, after which another begins; else the beginning of the text.
            is_whole = self.prepared.tokenizer.eos is None
            return self.prepared.val[:PROMPT_TOKENS] if is_whole else self.prepared.val[-1:]
        text = convert(own, model.context_length, self.prepared, "val")
        return text.tokens[text.positions < PROMPT_TOKENS]


def evaluate(config: Config, folder: Path, ladder: Path) -> float | None:
    """Score all rungs; write the table, the samples, the figures and the report to a folder.

    Returns the lowest bits per byte of the trained rungs on the validation text.
    """
    prepared = open_text(config, ladder, trains=False)
    settings = config.evaluate
    checkpoints = {
        rung.folder: rung.load(config.seed, prepared, settings.checkpoint)
        for rung in (*([ORACLE] if is_known(prepared) else []), *rungs_of(config))
    }
    for group in GROUPS:
        (ladder / group).mkdir(exist_ok=True)  # a dependency in dvc.yaml, even if empty
    rungs = Ladder.of(checkpoints, prepared)
    samples = rungs.samples(config.sample, config.seed)
    print(f"evaluate: samples are drawn; scores of {len(rungs.models)} models", flush=True)
    scores = score_models(rungs.models, prepared, settings)
    longest = longest_context(rungs.on_crops)
    crops = score_models(rungs.on_crops, prepared, settings, "on crops", longest)
    audits = rungs.audits(scores)
    excess = rungs.excess(settings)
    print("evaluate: tables, figures and report", flush=True)
    overall = [each for each in excess if each.by == "all"]
    excesses = {each.model: (each.excess, each.standard_error) for each in overall}
    table = reports.ladder_table(rungs.rows(scores, crops, excesses, audits))
    fitted = {name: each for name, each in rungs.on_crops.items() if each.n_parameters}
    predicted = {
        name: each
        for name, each in predict_models(fitted, prepared, settings.batch_tokens).items()
        if np.isfinite(each.nats).all()  # else it has no curve
    }
    positions = reports.position_table(
        {name: ContextLosses.of_sequences(each.nats) for name, each in predicted.items()}
    )
    calibration = reports.calibration_table(
        {name: reliability_of(each, settings.min_context) for name, each in predicted.items()}
    )
    drawn = reports.result_figures(table, rungs.histories, positions, calibration)
    figures = {name: reports.as_svg(each) for name, each in drawn.items()}
    excess_table = reports.excess_table(excess)
    finite = [name for name, (value, _) in excesses.items() if math.isfinite(value)]
    drawable = excess_table[excess_table["model"].isin(finite)]
    of_truth = reports.truth_figures(table, drawable)  # no files, as they may be missing
    settings_text = OmegaConf.to_yaml(OmegaConf.create(plain_settings(config)))
    page = reports.render_report(
        title=f"lmladder on {prepared.corpus.name}",
        summary=reports.findings(table),
        table=table,
        figures=[*drawn.values(), *of_truth.values()],
        samples=samples,
        passage=rungs.passage(),
        attention=rungs.attention(),
        corpus=prepared.corpus,
        seeds=[each.seed for each in checkpoints.values()],
        config=settings_text,
    )
    texts = {
        "perplexity.csv": reports.to_csv(table),
        "perplexity.md": reports.ladder_grid(table).to_markdown(),
        SAMPLES: reports.to_text(samples),
        "position.csv": reports.to_csv(positions),
        "calibration.csv": reports.to_csv(calibration),
        "excess.csv": reports.to_csv(excess_table),
        **{f"{name}.svg": figure for name, figure in figures.items()},
        "report.html": page,
    }
    for name, text in texts.items():
        atomic_write(folder / name, text.encode("utf-8", "surrogateescape"))
    metrics = reports.metrics(table)
    errors = reports.calibration_errors(calibration)
    metrics.setdefault("val", {})["expected_calibration_error"] = errors
    write_json(folder / "metrics.json", metrics)
    recorded = [
        of_whole_text(
            name, rungs.kind(name), rungs.rungs[name], each, prepared, audits.get(name, "")
        )
        for (name, split), each in scores.items()
        if split == "val"
    ]
    save_record(folder, config, prepared, recorded)
    reports.print_table(table)
    print(f"evaluate: perplexity.csv, report.html and {len(figures)} figures -> {folder}")
    trained = [
        each.bits_per_byte
        for (name, split), each in scores.items()
        if split == "val" and rungs.steps(name) is not None
        if audits.get(name, PASSED) == PASSED
    ]
    return min(trained, default=None)
