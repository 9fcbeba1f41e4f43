"""The oracle: the true distribution of the next character of stories that a grammar generates.

A story is a sequence of choices (data/tales.py). The oracle tracks all partial derivations that
agree with the text since the last newline, each with the probability of its choices so far. Their
sum, by the next character, is the distribution of that character. Variables are drawn where they
are first mentioned, so a derivation need not guess what has not been told, and the set stays small.

Outside the stories
-------------------
A newline ends a story and begins the next one. The beginning of a sequence is the beginning of a
story, if the text fits. Where no story agrees with the text since the last newline, every token is
equally likely until the next newline: for random text, or a window that begins within a story.

The true log probability of a character that no story continues with is -inf. The oracle gives it
`IMPOSSIBLE` instead, log of the smallest normal float64. So the loss of any text is finite, and the
entropy of a distribution is not NaN, while the sum over the vocabulary is 1 to the last digit. The
loss of a text outside the grammar is then 708 nats for each deviation: a sign that the text is
impossible, and no measure of it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lmladder.data import ByteTokenizer, CharTokenizer, Tokenizer, bytes_from_text
from lmladder.data.tales import Grammar, Option, Part
from lmladder.models.counts import checked_tokens
from lmladder.models.decoding import Decoder
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError

import numpy as np

END = "\n"  # of a story
IMPOSSIBLE = float(np.log(np.finfo(np.float64).tiny))
GRAMMAR, SYMBOLS = "grammar", "symbols"  # the arrays of a checkpoint
MIN_WEIGHT = 1e-200  # below which the probabilities of derivations are scaled
MAX_DERIVATIONS = 100_000  # which bounds the memory; the default grammar has some hundred

# What remains of a derivation: its next part and what follows; None at the end of a story.
Rest: TypeAlias = tuple[Part, "Rest"] | None
# Its probability, relative to the others; the rest of the option that was chosen last; the option
# of each variable drawn; and what follows.
Derivation: TypeAlias = tuple[float, str, Mapping[str, int], Rest]
# All derivations that agree with the text since the last newline; none if it is no story.
Prefix: TypeAlias = Sequence[Derivation]


class Oracle:
    """The distribution of a grammar's stories; the attributes are those of `LanguageModel`.

    `context_length` is the length of the longest story with its newline, with each choice as long
    as possible. With at least as many tokens as context, or a whole story before, it is exact.

    Parameters
    ----------
    grammar : of the stories
    symbols : what each token is: a code point in uint32, or a byte of UTF-8 in uint8

    Raises
    ------
    InputError
        If there is no token for a character of a story.
    """

    n_parameters = 0  # nothing is learned
    max_length: int | None = None

    def __init__(self, grammar: Grammar, symbols: Array) -> None:
        self.vocabulary_size, self.grammar = len(symbols), grammar
        self._symbols, self._in_bytes = symbols.astype("<u4"), symbols.dtype == np.uint8
        self._token_of = {chr(each): token for token, each in enumerate(symbols.tolist())}
        end = Part((Option(self._in_symbols(END)),))
        story = Part((Option(parts=(self._part_in_symbols(grammar.start, {}), end)),))
        self.context_length = story.longest
        self.beginning: Prefix = self._continued(1.0, {}, (story, None), [])

    def nll(self, tokens: IntArray) -> FloatArray:
        """Return what `LanguageModel.nll` describes, for sequences of any length."""
        logs = self.log_probabilities(tokens[:, :-1])
        targets = self._checked(tokens)[:, 1:, None]
        nats: FloatArray = 0.0 - np.take_along_axis(logs, targets, -1)[..., 0]  # -log(1) is -0.0
        return nats

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Return what `LanguageModel.log_probabilities` describes, for any length."""
        sequences = self._checked(tokens)
        shape = (len(sequences), sequences.shape[1] + 1, self.vocabulary_size)
        logs = np.full(shape, IMPOSSIBLE)
        for sequence, rows in zip(sequences, logs, strict=True):
            self._write(self._read(self.beginning, sequence, rows), rows[-1])
        return logs[:, 1:]

    def next_log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Return what `LanguageModel.next_log_probabilities` describes; the length may be 0."""
        return self.following(self.read([self.beginning] * len(tokens), tokens))

    def decoder(self) -> "OracleDecoder":
        return OracleDecoder(self)

    def read(self, prefixes: Sequence[Prefix], tokens: IntArray) -> list[Prefix]:
        """Return what agrees with each prefix and the tokens after it, (prefixes, length)."""
        pairs = zip(prefixes, self._checked(tokens), strict=True)
        return [self._read(prefix, each) for prefix, each in pairs]

    def following(self, prefixes: Sequence[Prefix]) -> FloatArray:
        """Return log probabilities of the token after each prefix: (prefixes, vocabulary)."""
        logs = np.full((len(prefixes), self.vocabulary_size), IMPOSSIBLE)
        for prefix, row in zip(prefixes, logs, strict=True):
            self._write(prefix, row)
        return logs

    def _checked(self, tokens: IntArray) -> IntArray:
        return checked_tokens(tokens, self.vocabulary_size, ("sequences", "length"))

    def _part_in_symbols(self, part: Part, found: dict[int, Part]) -> Part:
        """Return a part with one character for each token; `found` has those made, by identity."""
        if id(part) not in found:
            options = tuple(
                Option(
                    self._in_symbols(option.text),
                    tuple(self._part_in_symbols(each, found) for each in option.parts),
                    option.draws,
                )
                for option in part.options
            )
            found[id(part)] = Part(options, part.variable, part.rivals)
        return found[id(part)]

    def _in_symbols(self, text: str) -> str:
        symbols = bytes_from_text(text).decode("latin-1") if self._in_bytes else text
        if missing := {*symbols} - self._token_of.keys():
            raise InputError(
                f"the tokenizer has no token for {min(missing)!r}, which is in the stories of the "
                "grammar; prepare a longer text"
            )
        return symbols

    def _read(self, prefix: Prefix, tokens: IntArray, rows: FloatArray | None = None) -> Prefix:
        """Return the derivations that agree with a prefix and the tokens after it.

        Parameters
        ----------
        tokens : (length,)
        rows : (length, vocabulary) or longer, all `IMPOSSIBLE`; becomes the log probabilities
            before each token; None if they are not needed
        """
        text = self._symbols[tokens].tobytes().decode("utf-32-le")
        at = 0
        while at < len(text):
            if len(prefix) == 1 and text.startswith(prefix[0][1], at):  # a shortcut: no choice
                _, symbols, drawn, rest = prefix[0]
                first, at = at, at + len(symbols)
                if rows is not None:
                    rows[np.arange(first, at), tokens[first:at]] = 0.0
                prefix = self._continued(1.0, drawn, rest, [])
            else:
                if rows is not None:
                    self._write(prefix, rows[at])
                prefix = self._step(prefix, text[at])
                at += 1
            if text[at - 1] == END:
                prefix = self.beginning
        return prefix

    def _step(self, prefix: Prefix, symbol: str) -> Prefix:
        """Return the derivations that continue with a symbol."""
        found: list[Derivation] = []
        for weight, symbols, drawn, rest in prefix:
            if symbols[0] == symbol:
                if len(symbols) > 1:
                    found.append((weight, symbols[1:], drawn, rest))
                else:
                    self._continued(weight, drawn, rest, found)
        if found and found[0][0] < MIN_WEIGHT:
            total = sum(each[0] for each in found)
            found = [(each[0] / total, *each[1:]) for each in found]
        return found

    def _continued(
        self, weight: float, drawn: Mapping[str, int], rest: Rest, into: list[Derivation]
    ) -> list[Derivation]:
        """Append the derivations, of this probability in all, that begin with `rest`; return all.

        Raises
        ------
        InputError
            If there are too many.
        """
        if rest is None:
            return into
        part, after = rest
        options = part.free(drawn)
        share = weight / len(options)
        for option in options:
            if option.parts:
                below = after
                for each in reversed(option.parts):
                    below = (each, below)
                self._continued(share, drawn, below, into)
            else:
                draws = {**drawn, **option.draws} if option.draws else drawn
                into.append((share, option.text, draws, after))
        if len(into) > MAX_DERIVATIONS:
            raise InputError(
                f"the grammar is too ambiguous: more than {MAX_DERIVATIONS:,} partial derivations "
                "agree with a text"
            )
        return into

    def _write(self, prefix: Prefix, row: FloatArray) -> None:
        """Write the log probabilities of the next token to (vocabulary,), all `IMPOSSIBLE`."""
        weights: dict[str, float] = {}
        for weight, symbols, _, _ in prefix:
            weights[symbols[0]] = weights.get(symbols[0], 0.0) + weight
        total = sum(weights.values())
        for symbol, weight in weights.items():
            row[self._token_of[symbol]] = math.log(weight / total)
        if not prefix:
            row[:] = -np.log(self.vocabulary_size)


class OracleDecoder(Decoder):
    """A decoder that keeps the derivations of each text, however long it is."""

    def __init__(self, oracle: Oracle):
        super().__init__(oracle)
        self._oracle = oracle
        self._prefixes: list[Prefix] = [oracle.beginning]

    def read(self, tokens: IntArray) -> FloatArray:
        self._append(tokens)
        self._prefixes = self._oracle.read(self._prefixes, tokens)
        return self._oracle.following(self._prefixes)

    def select(self, sequences: Sequence[int]) -> None:
        super().select(sequences)
        self._prefixes = [self._prefixes[each] for each in sequences]


def arrays_of(grammar: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Array]:
    """Return the arrays of a checkpoint: a grammar's source, and what the tokens are.

    Raises
    ------
    InputError
        If the tokens are not characters or bytes.
    """
    if isinstance(tokenizer, CharTokenizer):
        symbols: Array = np.frombuffer(tokenizer.characters.encode("utf-32-le"), "<u4")
    elif isinstance(tokenizer, ByteTokenizer):
        symbols = np.arange(tokenizer.vocabulary_size, dtype=np.uint8)
    else:
        raise InputError(
            f"the oracle needs the tokenizer char or byte, not {tokenizer.name}: it knows the "
            "probabilities of characters"
        )
    source = json.dumps(grammar, sort_keys=True).encode()
    return {GRAMMAR: np.frombuffer(source, np.uint8), SYMBOLS: symbols}


def restore(
    kind: str, settings: object, vocabulary_size: int, arrays: Mapping[str, Array], name: str
) -> dict[str, Oracle]:
    """Return the oracle of a checkpoint, by its name; InputError if the grammar is not valid."""
    return {name: Oracle(Grammar(json.loads(arrays[GRAMMAR].tobytes())), arrays[SYMBOLS])}
