"""From the tokens of a prompt to finished texts, with any strategy."""

from collections.abc import Callable, Sequence

from lmladder.data import Tokenizer
from lmladder.models.contract import LanguageModel
from lmladder.sampling.beam import BeamSearch, search
from lmladder.sampling.continuation import Continuation
from lmladder.sampling.generation import draw
from lmladder.sampling.strategies import Strategy
from lmladder.system.arrays import IntArray
from lmladder.system.errors import InputError


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
    """Return `samples` continuations of a prompt.

    A continuation ends after `tokens` tokens, before the first occurrence of a stop text, or at the
    end of the document, if the tokenizer has a token for that. The tokens of the stop text or of
    the end are among its `tokens`, but not in its `text`.

    Parameters
    ----------
    prompt : at least one token; it may be longer than the model's context
    tokens : the greatest number of tokens to add
    seed : sample i does not depend on the others, and has the seed `seed + i`; unused in a search
    samples : the number of continuations; a beam search returns the best ones
    cache : whether to store results for earlier tokens, if the model supports it
    show : called with each piece of the first sample's text as soon as it is final

    Raises
    ------
    InputError
        If the prompt or a stop text is empty, or there are fewer beams than samples.
    RunError
        If a probability is NaN.
    """
    made = [Continuation(tokenizer, prompt, stop) for _ in range(samples)]
    if isinstance(strategy, BeamSearch):
        if samples > strategy.beams:
            raise InputError(f"samples must be at most the {strategy.beams} beams, got {samples}")
        width = strategy.beams
        made = search(model, prompt, made[0], tokens=tokens, width=width, cache=cache)[:samples]
        show(made[0].text)
        return made
    shown = 0
    for _ in draw(model, prompt, made, tokens=tokens, strategy=strategy, seed=seed, cache=cache):
        if (final := made[0].final_length) > shown:
            show(made[0].text[shown:final])
            shown = final
    show(made[0].text[shown:])
    return made
