"""Stage 2: the count models, from uniform to Kneser-Ney, which share one set of counts.

They read outputs/prepare. In the pipeline: dvc repro bigram. By hand, in folders of their own under
outputs/runs/bigram, or outputs/sweeps/bigram with -m:

    python stages/bigram.py bigram.kneser_ney_orders=[4,6]
    python stages/bigram.py -m bigram.add_k=0.1,1
"""

from pathlib import Path

from lmladder.atomic import atomic_write, write_json
from lmladder.config import Config
from lmladder.progress import CountingProgress
from lmladder.rung import count, first_checkpoint, open_prepared, sample_prompt, write_samples
from lmladder.scoring import BLOCK_NATS, BlockNats, score
from lmladder.stage import Done, stage


@stage("prepare")
def main(config: Config, out: Path, ladder: Path) -> Done:
    prepared = open_prepared(config, ladder)
    prompt = sample_prompt(config.sample, prepared)
    begun = first_checkpoint("bigram", config.bigram, config.seed, prepared)
    checkpoint = count(begun, config.bigram, prepared)
    models = checkpoint.restore_models()
    checkpoint.save(out / "checkpoint.safetensors")
    with CountingProgress("bigram", "tokens", len(models) * len(prepared.val)) as progress:
        scores = {
            name: score(
                model,
                prepared.val,
                prepared.past("val"),
                n_bytes=prepared.corpus.splits["val"].bytes,
                least_context=config.evaluate.least_context,
                batch_tokens=config.evaluate.batch_tokens,
                advance=progress.advance,
            )
            for name, model in models.items()
        }
    write_json(
        out / "metrics.json",
        {
            "parameters": {name: model.n_parameters for name, model in models.items()},
            "val_nats": {name: round(each.nats_per_token, 6) for name, each in scores.items()},
        },
    )
    blocks = BlockNats.of_whole_text(
        prepared.digest,
        len(prepared.val),
        {name: each.block_nats for name, each in scores.items()},
    )
    atomic_write(out / BLOCK_NATS, blocks.to_csv().encode())
    del models["uniform"]
    write_samples(
        out / "samples.txt",
        models,
        prompt,
        config=config.sample,
        prepared=prepared,
        seed=config.seed,
        stage="bigram",
    )
    best = min(scores, key=lambda name: scores[name].nats)
    print(f"bigram: best is {best} with {scores[best].nats_per_token:.4f} nats/token -> {out}")
    return Done(objective=scores[best].nats_per_token)


if __name__ == "__main__":
    main()
