"""All rungs on one text: the rows of the perplexity table."""

from collections.abc import Iterable

from lmladder.checkpoint import COUNTS, Checkpoint
from lmladder.config import EvaluateConfig
from lmladder.errors import InputError
from lmladder.reports import Row
from lmladder.scoring import Score, score
from lmladder.text import Prepared


def score_ladder(
    checkpoints: Iterable[Checkpoint], prepared: Prepared, config: EvaluateConfig
) -> list[Row]:
    """The score of every model in `checkpoints`, and of the oracle where the text has one.

    Splits that the text leaves empty are passed over.

    Raises
    ------
    InputError
        If no split that the configuration asks for has any text.
    """
    splits = [name for name in config.splits if prepared.corpus.splits[name].tokens]
    if not splits:
        raise InputError(f"evaluate.splits: no text in {', '.join(config.splits)}")
    rows = []
    for checkpoint in checkpoints:
        steps = None if checkpoint.kind == COUNTS else checkpoint.step
        for name, model in checkpoint.restore_models().items():
            for split in splits:
                scored = score(
                    model,
                    prepared.split(split),
                    prepared.past(split),
                    n_bytes=prepared.corpus.splits[split].bytes,
                    least_context=config.least_context,
                    batch_tokens=config.batch_tokens,
                )
                rows.append(Row(name, split, scored, model.n_parameters, steps))
    return rows + [row for split in splits for row in _oracle_row(split, prepared)]


def _oracle_row(split: str, prepared: Prepared) -> list[Row]:
    facts = prepared.corpus.splits[split]
    if facts.oracle is None:
        return []
    error = facts.oracle.standard_error_nats
    truth = Score(facts.tokens, facts.bytes, facts.oracle.nats)
    return [Row("oracle", split, truth, None, None, error and error / facts.tokens)]
