"""All rungs on one text: the rows of the perplexity table, and what else is shown of them."""

from collections.abc import Iterable, Sequence

from lmladder.checkpoint import COUNTS, Checkpoint
from lmladder.config import EvaluateConfig
from lmladder.errors import InputError
from lmladder.inspection import attention_maps, pieces
from lmladder.progress import CountingProgress
from lmladder.reports import UNIFORM, Attention, Passage, Row, token_labels
from lmladder.scoring import Predictions, Reliability, Score, predict, score, token_nats
from lmladder.text import Prepared
from lmladder.training import validation_rows

import numpy as np

PREDICTED_TOKENS = 32768  # by each model; enough to see, and seconds for all of them
PASSAGE_TOKENS = 600
PASSAGE_CONTEXT = 0.5  # as evaluate.least_context in conf/; a passage has few windows
ATTENTION_TOKENS = 20


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
    models = [
        (name, model, None if checkpoint.kind == COUNTS else checkpoint.step)
        for checkpoint in checkpoints
        for name, model in checkpoint.restore_models().items()
    ]
    tokens = len(models) * sum(prepared.corpus.splits[split].tokens for split in splits)
    rows = []
    with CountingProgress("evaluate", "tokens", tokens) as progress:
        for name, model, steps in models:
            for split in splits:
                scored = score(
                    model,
                    prepared.split(split),
                    prepared.past(split),
                    n_bytes=prepared.corpus.splits[split].bytes,
                    least_context=config.least_context,
                    batch_tokens=config.batch_tokens,
                    advance=progress.advance,
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


def read_passage(checkpoints: Iterable[Checkpoint], prepared: Prepared) -> Passage | None:
    """The beginning of the validation text under every model; None where there is no such text."""
    tokens = prepared.val[:PASSAGE_TOKENS]
    if not len(tokens):
        return None
    texts: Sequence[str] = ()
    nats: dict[str, Sequence[float]] = {}
    for checkpoint in checkpoints:
        for name, model in checkpoint.restore_models().items():
            if name == UNIFORM:  # as surprised everywhere
                continue
            of_tokens = token_nats(
                model, tokens, prepared.past("val"),
                least_context=PASSAGE_CONTEXT, batch_tokens=PASSAGE_TOKENS,
            )  # fmt: skip
            texts, nats[name] = zip(*pieces(prepared.tokenizer, tokens, of_tokens), strict=True)
    return Passage(texts, nats)


def read_attention(checkpoints: Iterable[Checkpoint], prepared: Prepared) -> Attention | None:
    """Where the Transformer among the checkpoints looks in the beginning of the validation text."""
    tokens = prepared.val[:ATTENTION_TOKENS]
    for checkpoint in checkpoints:
        if checkpoint.kind == "transformer" and len(tokens):
            (model,) = checkpoint.restore_models().values()
            tokens = tokens[: model.context_length]
            labels = token_labels(prepared.tokenizer, tokens)
            return Attention(labels, attention_maps(model, tokens))
    return None
