"""All rungs on one text: the rows of the perplexity table, and how the rungs came to them."""

from collections.abc import Iterable

from lmladder.checkpoint import COUNTS, Checkpoint
from lmladder.config import EvaluateConfig
from lmladder.errors import InputError
from lmladder.reports import UNIFORM, Row
from lmladder.scoring import Predictions, Reliability, Score, predict, score
from lmladder.text import Prepared
from lmladder.training import validation_rows

import numpy as np

PREDICTED_TOKENS = 32768  # by each model; enough to see, and seconds for all of them


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


def predict_ladder(
    checkpoints: Iterable[Checkpoint], prepared: Prepared, config: EvaluateConfig
) -> dict[str, Predictions]:
    """What every model but the uniform one makes of rows spread over the validation text.

    The rows are as long as the longest context; a model that cannot read so far has shorter ones.
    They begin without a past, so that it can be seen what a past is worth.
    """
    models = {
        name: model
        for checkpoint in checkpoints
        for name, model in checkpoint.restore_models().items()
        if name != UNIFORM  # which reads nothing, and finds nothing likeliest
    }
    longest = max(max(model.context_length, 1) for model in models.values())
    predictions = {}
    for name, model in models.items():
        length = min(model.max_length or longest, longest, len(prepared.val) - 1)
        rows = validation_rows(prepared.val, length, PREDICTED_TOKENS)
        predictions[name] = predict(model, rows, batch_tokens=config.batch_tokens)
    return predictions


def reliability_of(predictions: Predictions, least_context: float) -> Reliability:
    """Of those predictions that go by as much of a context as they do in the table."""
    length = predictions.nats.shape[1]
    seen = slice(min(length - 1, int(np.ceil(length * least_context))), None)
    return Reliability.of(predictions.confidence[:, seen], predictions.hit[:, seen])


def _oracle_row(split: str, prepared: Prepared) -> list[Row]:
    facts = prepared.corpus.splits[split]
    if facts.oracle is None:
        return []
    error = facts.oracle.standard_error_nats
    truth = Score(facts.tokens, facts.bytes, facts.oracle.nats)
    return [Row("oracle", split, truth, None, None, error and error / facts.tokens)]
