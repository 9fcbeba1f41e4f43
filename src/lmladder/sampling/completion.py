"""From a prompt's tokens to finished texts, whatever the strategy."""

from collections.abc import Callable, Sequence

from lmladder.arrays import IntArray
from lmladder.errors import InputError
from lmladder.models.contract import LanguageModel
from lmladder.sampling.beam import BeamSearch, search
from lmladder.sampling.continuation import Continuation, Transcript
from lmladder.sampling.generation import draw
from lmladder.sampling.strategies import Strategy
from lmladder.text import Tokenizer


def complete(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: Sequence[int] | IntArray,
    *,
    tokens: int,
    strategy: Strategy | BeamSearch,
    seed: int = 0,
    samples: int = 1,
    stop: Sequence[str] = (),
    cache: bool = True,
    show: Callable[[str], object] = lambda _: None,
) -> list[Continuation]:
    """Continue a prompt, `samples` times.

    A continuation ends at `tokens` tokens; or before the first occurrence of a stop text; or where
    the document ends, if the tokenizer has a token for that. The tokens that told so are among its
    `tokens`, but not in its `text`.

    Parameters
    ----------
    prompt : at least one token; it may be longer than the model's context
    tokens : the most that are added
    seed : sample i is the one that seed + i draws alone; a beam search needs none
    samples : of a beam search, the best so many
    cache : whether to keep what was computed of earlier tokens, where the model can
    show : called with each piece of the first sample's text as soon as it is certain

    Raises
    ------
    InputError
        If the prompt or a stop text is empty, or more samples are asked for than there are beams.
    RunError
        If a probability is not a number.
    """
    transcripts = [Transcript(tokenizer, prompt, stop) for _ in range(samples)]
    rows = [Continuation(transcript) for transcript in transcripts]
    if isinstance(strategy, BeamSearch):
        if samples > strategy.beams:
            raise InputError(f"{samples} samples are more than {strategy.beams} beams can give")
        width = strategy.beams
        rows = search(model, prompt, rows[0], tokens=tokens, width=width, cache=cache)[:samples]
        show(rows[0].text)
        return rows
    shown = 0
    for _ in draw(model, prompt, rows, tokens=tokens, strategy=strategy, seed=seed, cache=cache):
        if (certain := transcripts[0].certain) > shown:
            show(rows[0].text[shown:certain])
            shown = certain
    show(rows[0].text[shown:])
    return rows
