"""Stage 5: every rung scores the same text; the table, the curves and the report."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from lmladder import reports
from lmladder.atomic import atomic_write
from lmladder.config import Config
from lmladder.evaluation import score_ladder
from lmladder.rung import load_rung, open_prepared
from lmladder.stage import OUTPUTS, stage, write_json

RUNGS = ("bigram", "mlp", "transformer")
LEARNT = ("mlp", "transformer")


@stage
def main(config: Config, out: Path) -> None:
    prepared = open_prepared(config)
    # The count models have no steps, so their latest checkpoint is their best.
    checkpoints = [
        load_rung(kind, prepared, config.evaluate.checkpoint if kind in LEARNT else "latest")
        for kind in RUNGS
    ]
    table = reports.ladder_table(score_ladder(checkpoints, prepared, config.evaluate))
    first = table[table["split"] == table["split"].iloc[0]]
    nats = dict(zip(first["model"], first["nats_per_token"], strict=True))
    figure = reports.loss_curves(
        {kind: pd.read_csv(OUTPUTS / kind / "history.csv") for kind in LEARNT},
        {model: value for model, value in nats.items() if model != "oracle"},
        oracle=nats.get("oracle"),
    )
    samples: dict[str, str] = {}
    for kind in RUNGS:
        samples |= reports.read_samples(OUTPUTS / kind / "samples.txt")
    settings = asdict(config)
    del settings["runtime"]  # of this machine, and without effect on results
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
    performance = {
        kind: json.loads((OUTPUTS / kind / "performance.json").read_text())
        for kind in RUNGS
        if (OUTPUTS / kind / "performance.json").exists()
    }
    reports.print_table(table, performance)
    print(f"evaluate: perplexity.csv, report.html and loss_curves.svg -> {out}")


if __name__ == "__main__":
    main()
