"""The last stage: every rung scores the same text; the table, the figures and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lmladder import kernels, reports
from lmladder.config import Config
from lmladder.data import Prepared
from lmladder.evaluation import (
    BLOCK_LOSSES,
    BlockLosses,
    ContextLosses,
    Score,
    passage_nll,
    predict_models,
    reliability_of,
    score_models,
)
from lmladder.evaluation.inspection import attention_maps, has_attention, pieces
from lmladder.models import LanguageModel
from lmladder.models.registry import KINDS
from lmladder.pipeline.rungs import rungs_of
from lmladder.pipeline.stages import Result, Stage
from lmladder.pipeline.text import open_prepared
from lmladder.reports import Attention, Grid, Passage, Row
from lmladder.sampling import BeamSearch, Strategy, complete
from lmladder.sampling.settings import SampleSettings
from lmladder.system.errors import InputError
from lmladder.system.files import atomic_write, write_json
from lmladder.training.checkpoint import Checkpoint

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf

PROMPT_TOKENS = 16  # of the validation text, where the configuration names no prompt
PASSAGE_TOKENS = 600
ATTENTION_TOKENS = 20
SAMPLES = "samples.txt"


@dataclass(frozen=True)
class Ladder:
    """The models of all rungs on one text.

    Attributes
    ----------
    models : by name
    rungs : of each model the folder of its rung
    checkpoints : by the folder of the rung
    """

    prepared: Prepared
    models: Mapping[str, LanguageModel]
    rungs: Mapping[str, str]
    checkpoints: Mapping[str, Checkpoint]

    @classmethod
    def of(cls, checkpoints: Mapping[str, Checkpoint], prepared: Prepared) -> "Ladder":
        """The models of some checkpoints; InputError if two have one name."""
        models: dict[str, LanguageModel] = {}
        rungs: dict[str, str] = {}
        for folder, checkpoint in checkpoints.items():
            for name, model in checkpoint.restore_models().items():
                if name in models:
                    raise InputError(f"{folder} has a model {name}, as {rungs[name]} has")
                models[name], rungs[name] = model, folder
        return cls(prepared, models, rungs, checkpoints)

    def steps(self, name: str) -> int | None:
        """Of the training of a model; None where there is none."""
        checkpoint = self.checkpoints[self.rungs[name]]
        return None if KINDS[checkpoint.kind].fit.deterministic else checkpoint.step

    @property
    def informed(self) -> dict[str, LanguageModel]:
        """The models that have learned anything: all but the uniform one."""
        return {name: each for name, each in self.models.items() if each.n_parameters}

    def rows(self, scores: Mapping[tuple[str, str], Score]) -> list[Row]:
        """The rows of the table, with one for the oracle where the text has one."""
        rows = [
            Row(
                name, split, scored, self.models[name].n_parameters, self.steps(name),
                kind=self.checkpoints[self.rungs[name]].kind, rung=self.rungs[name],
            )
            for (name, split), scored in scores.items()
        ]  # fmt: skip
        for split in dict.fromkeys(split for _, split in scores):
            facts = self.prepared.corpus.splits[split]
            if facts.oracle is not None:
                error = facts.oracle.standard_error_nats
                truth = Score(facts.tokens, facts.bytes, facts.oracle.nats)
                rows.append(Row("oracle", split, truth, None, None, error and error / facts.tokens))
        return rows

    def passage(self) -> Passage | None:
        """The beginning of the validation text under every model; None where there is no text."""
        tokens = self.prepared.val[:PASSAGE_TOKENS]
        if not len(tokens):
            return None
        texts: Sequence[str] = ()
        nats: dict[str, Sequence[float]] = {}
        for name, each in passage_nll(self.informed, self.prepared, PASSAGE_TOKENS).items():
            texts, nats[name] = zip(*pieces(self.prepared.tokenizer, tokens, each), strict=True)
        return Passage(texts, nats)

    def attention(self) -> Attention | None:
        """The attention of the first model that has any, over the beginning of that text."""
        tokens = self.prepared.val[:ATTENTION_TOKENS]
        for model in self.models.values():
            if has_attention(model) and len(tokens):
                tokens = tokens[: model.context_length]
                labels = reports.token_labels(self.prepared.tokenizer, tokens)
                return Attention(labels, attention_maps(model, tokens))
        return None

    def samples(self, settings: SampleSettings, seed: int) -> dict[str, str]:
        """Continued prompts of each model, by its name, a blank line between."""
        strategy: Strategy | BeamSearch
        if settings.beams is None:
            strategy = Strategy(
                temperature=settings.temperature,
                top_k=settings.top_k,
                top_p=settings.top_p,
                min_p=settings.min_p,
                repetition_penalty=settings.repetition_penalty,
            )
        else:
            strategy = BeamSearch(settings.beams)
        prompt = [int(token) for token in self.prepared.val[:PROMPT_TOKENS]]
        if settings.prompt is not None:
            try:
                encoded = self.prepared.tokenizer.encode(settings.prompt)
            except InputError as error:
                raise InputError(f"sample.prompt: {error}") from None
            prompt = [int(token) for token in encoded]
        return {
            name: "\n\n".join(
                each.prompt + each.text
                for each in complete(
                    model,
                    self.prepared.tokenizer,
                    prompt,
                    tokens=settings.tokens,
                    strategy=strategy,
                    seed=seed,
                    samples=settings.samples,
                    stop=settings.stop,
                )
            )
            for name, model in self.informed.items()
        }


def evaluate(stage: Stage, config: Config, out: Path, ladder: Path) -> Result:
    """Score all rungs; write the table, the samples, the figures and the report to `out`."""
    kernels.select(config.runtime.kernels)
    prepared = open_prepared(config, ladder, trains=False)
    settings = config.evaluate
    checkpoints = {
        rung.folder: rung.load(config.seed, prepared, settings.checkpoint)
        for rung in rungs_of(config)
    }
    (ladder / "rungs").mkdir(exist_ok=True)  # a dependency in dvc.yaml, also where it is empty
    found = Ladder.of(checkpoints, prepared)
    samples = found.samples(config.sample, config.seed)
    scores = score_models(found.models, prepared, settings)
    table = reports.ladder_table(found.rows(scores))
    blocks = BlockLosses.of_whole_text(
        prepared.digest,
        len(prepared.val),
        {name: each.block_losses for (name, split), each in scores.items() if split == "val"},
    )
    predicted = predict_models(found.informed, prepared, settings.batch_tokens)
    positions = reports.position_table(
        {name: ContextLosses.of_sequences(each.nats) for name, each in predicted.items()}
    )
    calibration = reports.calibration_table(
        {name: reliability_of(each, settings.min_context) for name, each in predicted.items()}
    )
    figures = reports.result_pictures(
        table,
        reports.read_histories(table, ladder),
        positions,
        calibration,
        train_tokens=len(prepared.train),
    )
    told = asdict(config)
    del told["runtime"]["threads"]  # of this machine, and without effect on results
    page = report_page(found, table, figures, samples, OmegaConf.to_yaml(OmegaConf.create(told)))
    atomic_write(out / "perplexity.csv", reports.to_csv(table).encode())
    atomic_write(out / BLOCK_LOSSES, blocks.to_csv().encode())
    atomic_write(out / "perplexity.md", reports.to_markdown(table).encode())
    atomic_write(out / SAMPLES, reports.to_text(samples).encode("utf-8", "surrogateescape"))
    atomic_write(out / "position.csv", reports.to_csv(positions).encode())
    atomic_write(out / "calibration.csv", reports.to_csv(calibration).encode())
    for name, figure in figures.items():
        atomic_write(out / f"{name}.svg", reports.as_svg(figure).encode())
    atomic_write(out / "report.html", page.encode())
    metrics = reports.metrics(table)
    errors = reports.calibration_errors(calibration)
    metrics.setdefault("val", {})["expected_calibration_error"] = errors
    write_json(out / "metrics.json", metrics)
    reports.print_table(
        table, {folder: reports.read_performance(ladder / folder) for folder in checkpoints}
    )
    print(f"evaluate: perplexity.csv, report.html and {len(figures)} figures -> {out}")
    trained = [
        each.bits_per_byte
        for (name, split), each in scores.items()
        if split == "val" and found.steps(name) is not None
    ]
    return Result(objective=min(trained, default=None))


def report_page(
    ladder: Ladder,
    table: pd.DataFrame,
    figures: Mapping[str, Figure],
    samples: Mapping[str, str],
    config: str,
    environment: Sequence[Grid] = (),
) -> str:
    """The page of all results, as HTML; see `reports.render_report`."""
    return reports.render_report(
        title=f"lmladder on {ladder.prepared.corpus.name}",
        summary=reports.findings(table),
        table=table,
        figures={reports.CAPTIONS[name]: reports.as_svg(each) for name, each in figures.items()},
        samples=samples,
        passage=ladder.passage(),
        attention=ladder.attention(),
        corpus=ladder.prepared.corpus,
        config=config,
        environment=environment,
    )
