"""Stage 5: every rung scores the same text; the table, the pictures and the report.

It reads what the other stages have left in outputs/. In the pipeline: dvc repro. By hand, in a
folder of its own under outputs/runs/evaluate:

    python stages/evaluate.py
    python stages/evaluate.py evaluate.checkpoint=best evaluate.splits=[val]
"""

from dataclasses import asdict
from pathlib import Path

from lmladder import kernels, reports
from lmladder.atomic import atomic_write, write_json
from lmladder.config import Config
from lmladder.evaluation import (
    predict_ladder,
    read_attention,
    read_passage,
    reliability_of,
    score_ladder,
)
from lmladder.rung import load_rung, open_prepared
from lmladder.scoring import BLOCK_NATS, BlockNats, ContextLosses
from lmladder.stage import Done, stage

from omegaconf import OmegaConf


@stage("prepare", "bigram", "mlp", "transformer")
def main(config: Config, out: Path, ladder: Path) -> Done:
    kernels.select(config.runtime.kernels)
    prepared = open_prepared(config, ladder)
    which, seed = config.evaluate.checkpoint, config.seed
    checkpoints = [
        load_rung("bigram", config.bigram, seed, prepared),  # has no steps: the latest is the best
        load_rung("mlp", config.mlp, seed, prepared, which),
        load_rung("transformer", config.transformer, seed, prepared, which),
    ]
    rows = score_ladder(checkpoints, prepared, config.evaluate)
    table = reports.ladder_table(rows)
    scores = {row.model: row.score for row in rows if row.split == "val" and row.score.block_nats}
    blocks = BlockNats.of_whole_text(
        prepared.digest,
        len(prepared.val),
        {name: each.block_nats for name, each in scores.items()},
    )
    predicted = predict_ladder(checkpoints, prepared, config.evaluate)
    positions = reports.position_table(
        {name: ContextLosses.of_rows(each.nats) for name, each in predicted.items()}
    )
    least_context = config.evaluate.least_context
    calibration = reports.calibration_table(
        {name: reliability_of(each, least_context) for name, each in predicted.items()}
    )
    learnt = {config.mlp.network: ladder / "mlp", "transformer": ladder / "transformer"}
    histories = {name: reports.read_history(path / "history.csv") for name, path in learnt.items()}
    drawn = reports.result_pictures(
        table,
        histories,
        positions,
        calibration,
        train_tokens=len(prepared.train),
    )
    pictures = {name: reports.as_svg(figure) for name, figure in drawn.items()}
    samples: dict[str, str] = {}
    stages = {"bigram": ladder / "bigram", **learnt}
    for path in stages.values():
        samples |= reports.read_samples(path / "samples.txt")
    settings = asdict(config)
    del settings["runtime"]["threads"]  # of this machine, and without effect on results
    page = reports.render_report(
        title=f"lmladder on {prepared.corpus.name}",
        summary=reports.findings(table),
        table=table,
        figures={reports.CAPTIONS[name]: svg for name, svg in pictures.items()},
        samples=samples,
        passage=read_passage(checkpoints, prepared),
        attention=read_attention(checkpoints, prepared),
        corpus=prepared.corpus,
        config=OmegaConf.to_yaml(OmegaConf.create(settings)),
    )
    atomic_write(out / "perplexity.csv", reports.to_csv(table).encode())
    atomic_write(out / BLOCK_NATS, blocks.to_csv().encode())
    atomic_write(out / "perplexity.md", reports.to_markdown(table).encode())
    atomic_write(out / "position.csv", reports.to_csv(positions).encode())
    atomic_write(out / "calibration.csv", reports.to_csv(calibration).encode())
    for name, svg in pictures.items():
        atomic_write(out / f"{name}.svg", svg.encode())
    atomic_write(out / "report.html", page.encode())
    metrics = reports.metrics(table)
    errors = reports.calibration_errors(calibration)
    metrics.setdefault("val", {})["expected_calibration_error"] = errors
    write_json(out / "metrics.json", metrics)
    performance = {name: reports.read_performance(path) for name, path in stages.items()}
    reports.print_table(table, performance)
    print(f"evaluate: perplexity.csv, report.html and {len(pictures)} pictures -> {out}")
    return Done(objective=scores["transformer"].bits_per_byte if scores else None)


if __name__ == "__main__":
    main()
