"""Stage 5: every rung scores the same text; the table, the curves and the report."""

from dataclasses import asdict
from pathlib import Path

from lmladder import kernels, reports
from lmladder.atomic import atomic_write
from lmladder.config import Config
from lmladder.evaluation import read_attention, read_passage, score_ladder
from lmladder.rung import load_rung, open_prepared
from lmladder.scoring import BLOCK_NATS, BlockNats
from lmladder.stage import OUTPUTS, read_performance, stage, write_json

from omegaconf import OmegaConf


@stage
def main(config: Config, out: Path) -> None:
    kernels.select(config.runtime.kernels)
    prepared = open_prepared(config)
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
    baselines = reports.nats_by_model(table, "val")
    oracle = baselines.pop("oracle", None)
    learnt = {config.mlp.network: OUTPUTS / "mlp", "transformer": OUTPUTS / "transformer"}
    histories = {name: reports.read_history(path / "history.csv") for name, path in learnt.items()}
    figure = reports.loss_curves(histories, baselines, oracle=oracle)
    samples: dict[str, str] = {}
    stages = {"bigram": OUTPUTS / "bigram", **learnt}
    for path in stages.values():
        samples |= reports.read_samples(path / "samples.txt")
    settings = asdict(config)
    del settings["runtime"]["threads"]  # of this machine, and without effect on results
    page = reports.render_report(
        title=f"lmladder on {prepared.corpus.name}",
        summary=reports.findings(table),
        table=table,
        figures={reports.LOSS_CURVES: figure},
        samples=samples,
        passage=read_passage(checkpoints, prepared),
        attention=read_attention(checkpoints, prepared),
        corpus=prepared.corpus,
        config=OmegaConf.to_yaml(OmegaConf.create(settings)),
    )
    atomic_write(out / "perplexity.csv", reports.to_csv(table).encode())
    atomic_write(out / BLOCK_NATS, blocks.to_csv().encode())
    atomic_write(out / "perplexity.md", reports.to_markdown(table).encode())
    atomic_write(out / "loss_curves.svg", figure.encode())
    atomic_write(out / "report.html", page.encode())
    write_json(out / "metrics.json", reports.metrics(table))
    reports.print_table(table, {name: read_performance(path) for name, path in stages.items()})
    print(f"evaluate: perplexity.csv, report.html and loss_curves.svg -> {out}")


if __name__ == "__main__":
    main()
