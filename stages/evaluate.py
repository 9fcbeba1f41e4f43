"""Stage 5: every rung scores the same text; the table, the curves and the report."""

from dataclasses import asdict
from pathlib import Path

from lmladder import kernels, reports
from lmladder.atomic import atomic_write
from lmladder.config import Config
from lmladder.evaluation import score_ladder
from lmladder.rung import load_rung, open_prepared
from lmladder.stage import OUTPUTS, read_performance, stage, write_json

from omegaconf import OmegaConf

RUNGS = ("bigram", "mlp", "transformer")
LEARNT = ("mlp", "transformer")


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
    table = reports.ladder_table(score_ladder(checkpoints, prepared, config.evaluate))
    baselines = reports.nats_by_model(table, "val")
    oracle = baselines.pop("oracle", None)
    histories = {kind: reports.read_history(OUTPUTS / kind / "history.csv") for kind in LEARNT}
    figure = reports.loss_curves(histories, baselines, oracle=oracle)
    samples: dict[str, str] = {}
    for kind in RUNGS:
        samples |= reports.read_samples(OUTPUTS / kind / "samples.txt")
    settings = asdict(config)
    del settings["runtime"]["threads"]  # of this machine, and without effect on results
    page = reports.render_report(
        title=f"lmladder on {prepared.corpus.name}",
        summary=reports.findings(table),
        table=table,
        figure=figure,
        samples=samples,
        corpus=prepared.corpus,
        config=OmegaConf.to_yaml(OmegaConf.create(settings)),
    )
    atomic_write(out / "perplexity.csv", reports.to_csv(table).encode())
    atomic_write(out / "perplexity.md", reports.to_markdown(table).encode())
    atomic_write(out / "loss_curves.svg", figure.encode())
    atomic_write(out / "report.html", page.encode())
    write_json(out / "metrics.json", reports.metrics(table))
    reports.print_table(table, {kind: read_performance(OUTPUTS / kind) for kind in RUNGS})
    print(f"evaluate: perplexity.csv, report.html and loss_curves.svg -> {out}")


if __name__ == "__main__":
    main()
