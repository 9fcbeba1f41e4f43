"""The oracle: the true distribution of the next character of stories that a grammar generates.

A story is a sequence of choices (data/tales.py). The oracle tracks all partial derivations that
agree with the text since the last newline, each with the probability of its choices so far. Their
sum, by the next character, is the distribution of that character. Variables are drawn where they
are first mentioned, so a derivation need not guess what has not been told, and the set stays small.
The options of a choice are stored in a trie: all that agree with the text so far are one derivation
at one node, and their number is its weight.

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
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from lmladder.data import ByteTokenizer, CharTokenizer, Tokenizer, bytes_from_text
from lmladder.data.tales import Grammar, Part
from lmladder.models.counts import checked_tokens
from lmladder.models.decoding import Decoder
from lmladder.system.arrays import Array, FloatArray, IntArray
from lmladder.system.errors import InputError

import numpy as np

END = "\n"  # of a story
IMPOSSIBLE = float(np.log(np.finfo(np.float64).tiny))
MIN_WEIGHT = 1e-200  # below which the weights of derivations are scaled
NONE: frozenset[int] = frozenset()
GRAMMAR, SYMBOLS = "grammar", "symbols"  # the arrays of a checkpoint
MAX_DERIVATIONS = 100_000  # which bounds the memory; the default grammar has some hundred


class Node:
    """A node of a trie of texts: those that begin with the same characters.

    Parameters
    ----------
    texts : all texts of the trie
    options : the indices of those that go through this node
    depth : the number of characters before it
    """

    def __init__(self, texts: Sequence[str], options: frozenset[int], depth: int = 0) -> None:
        self.options = options
        self.ends = next((each for each in options if len(texts[each]) == depth), None)
        self._texts, self._depth = texts, depth

    @cached_property
    def rest(self) -> str:
        """The characters that follow, if only one text goes through this node; else empty."""
        return self._texts[min(self.options)][self._depth :] if len(self.options) == 1 else ""

    @cached_property
    def below(self) -> dict[str, "Node"]:
        """The next nodes by their character, made when they are first needed."""
        options: dict[str, set[int]] = {}
        for each in sorted(self.options):
            if each != self.ends:
                options.setdefault(self._texts[each][self._depth], set()).add(each)
        depth = self._depth + 1
        return {
            character: Node(self._texts, frozenset(found), depth)
            for character, found in options.items()
        }

    def count(self, taken: frozenset[int]) -> int:
        """Return the number of options but those that are taken."""
        return len(self.options) - len(self.options & taken) if taken else len(self.options)


class Choice:
    """A choice among texts: of a rule without holes, or of a variable; one text is no choice.

    Attributes
    ----------
    root : of the trie of all texts
    variable, rivals : as of `Part`
    """

    def __init__(
        self, texts: Sequence[str], variable: str | None = None, rivals: Sequence[str] = ()
    ) -> None:
        self.texts, self.variable, self.rivals = texts, variable, rivals
        self.root = Node(texts, frozenset(range(len(texts))))
        self.longest = max(map(len, texts))
        self.is_text = variable is None and len(texts) == 1
        self._only: dict[int, Node] = {}

    def only(self, option: int) -> Node:
        """Return the root of a trie that contains the text of one option alone."""
        if option not in self._only:
            self._only[option] = Node(self.texts, frozenset([option]))
        return self._only[option]


class Rule:
    """Alternatives, all equally likely: sequences of choices and rules."""

    texts: Sequence[str] = ()
    is_text = False

    def __init__(self, alternatives: Sequence[Sequence["Choice | Rule"]]) -> None:
        self.alternatives = alternatives
        self.longest: int = max(sum(each.longest for each in parts) for parts in alternatives)


# What remains of a derivation: its next part and what follows; None at the end of a story.
Rest: TypeAlias = tuple[Choice | Rule, "Rest"] | None
# The probability of each option at the node; the node; the options that other variables have taken;
# the option of each variable drawn; the variable that is being drawn; and the rest.
Derivation: TypeAlias = tuple[float, Node, frozenset[int], Mapping[str, int], str | None, Rest]
# All derivations that agree with the text since the last newline, and their total probability.
Prefix: TypeAlias = tuple[list[Derivation], float]


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
        story = self._compiled(grammar.start, {})
        self.context_length = story.longest + len(END)
        derivations: list[Derivation] = []
        self._enter(1.0, {}, (story, (Choice([self._in_symbols(END)]), None)), derivations)
        self.beginning: Prefix = (derivations, 1.0)

    def nll(self, tokens: IntArray) -> FloatArray:
        """Return what `LanguageModel.nll` describes, for sequences of any length."""
        sequences = self._checked(tokens)
        probabilities = np.ones(sequences.shape)
        for sequence, row in zip(sequences, probabilities, strict=True):
            self._read(self.beginning, sequence, probabilities=row)
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(probabilities[:, 1:]), IMPOSSIBLE)
        # A probability may be rounded to more than 1, and -log(1) is -0.0.
        nats: FloatArray = np.maximum(-logs, 0.0) + 0.0
        return nats

    def log_probabilities(self, tokens: IntArray) -> FloatArray:
        """Return what `LanguageModel.log_probabilities` describes, for any length."""
        sequences = self._checked(tokens)
        shape = (len(sequences), sequences.shape[1] + 1, self.vocabulary_size)
        logs = np.full(shape, IMPOSSIBLE)
        for sequence, rows in zip(sequences, logs, strict=True):
            self._write(self._read(self.beginning, sequence, rows=rows), rows[-1])
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

    def _compiled(self, part: Part, found: dict[int, Choice | Rule]) -> Choice | Rule:
        """Return a part of the grammar in symbols; `found` has those compiled, by identity."""
        if id(part) not in found:
            below = [[self._compiled(each, found) for each in one.parts] for one in part.options]
            plain = [parts[0].texts for parts in below if parts and parts[0].is_text]
            if not below[0]:  # no rule
                texts = [self._in_symbols(option.text) for option in part.options]
                found[id(part)] = Choice(texts, part.variable, part.rivals)
            elif len(plain) == len(below) == sum(map(len, below)):
                found[id(part)] = Choice([text for (text,) in plain])
            else:
                found[id(part)] = Rule(below)
        return found[id(part)]

    def _in_symbols(self, text: str) -> str:
        """Return a text with one character for each token."""
        symbols = bytes_from_text(text).decode("latin-1") if self._in_bytes else text
        if missing := {*symbols} - self._token_of.keys():
            raise InputError(
                f"the tokenizer has no token for {min(missing)!r}, which is in the stories of the "
                "grammar; prepare a longer text"
            )
        return symbols

    def _read(
        self,
        prefix: Prefix,
        tokens: IntArray,
        *,
        probabilities: FloatArray | None = None,
        rows: FloatArray | None = None,
    ) -> Prefix:
        """Return the derivations that agree with a prefix and the tokens after it.

        Parameters
        ----------
        tokens : (length,)
        probabilities : (length,), all 1; becomes the probability of each token
        rows : (length, vocabulary) or longer, all `IMPOSSIBLE`; becomes the log probabilities
            before each token
        """
        text = self._symbols[tokens].tobytes().decode("utf-32-le")
        at = 0
        while at < len(text):
            first, (derivations, total) = at, prefix
            rest = derivations[0][1].rest if len(derivations) == 1 else ""
            if not derivations:
                at = text.find(END, at) + 1 or len(text)
                if probabilities is not None:
                    probabilities[first:at] = 1 / self.vocabulary_size
                if rows is not None:
                    rows[first:at] = -np.log(self.vocabulary_size)
            elif rest and text.startswith(rest, at):
                at += len(rest)
                if rows is not None:
                    rows[np.arange(first, at), tokens[first:at]] = 0.0
                prefix = [], total
                self._finish(derivations[0], min(derivations[0][1].options), prefix[0])
            else:
                at += 1
                if rows is not None:
                    self._write(prefix, rows[first])
                prefix = self._step(derivations, text[first])
                if probabilities is not None:
                    probabilities[first] = prefix[1] / total
                if prefix[1] < MIN_WEIGHT:
                    prefix = [(each[0] / prefix[1], *each[1:]) for each in prefix[0]], 1.0
            if text[at - 1] == END:
                prefix = self.beginning
        return prefix

    def _step(self, derivations: Sequence[Derivation], symbol: str) -> Prefix:
        """Return what continues derivations with this symbol, and its probability."""
        found: list[Derivation] = []
        total = 0.0
        for derivation in derivations:
            weight, node, taken, drawn, variable, rest = derivation
            child = node.below.get(symbol)
            if child is None:
                continue
            count = child.count(taken)
            total += weight * count
            if child.ends is not None and child.ends not in taken:
                self._finish(derivation, child.ends, found)
                count -= 1
            if count:
                found.append((weight, child, taken, drawn, variable, rest))
        if len(found) > MAX_DERIVATIONS:
            raise InputError(
                f"the grammar is too ambiguous: more than {MAX_DERIVATIONS:,} partial derivations "
                "agree with a text"
            )
        return found, total

    def _finish(self, derivation: Derivation, option: int, into: list[Derivation]) -> None:
        """Append what follows an option of the current choice of a derivation."""
        weight, _, _, drawn, variable, rest = derivation
        self._enter(weight, drawn if variable is None else {**drawn, variable: option}, rest, into)

    def _enter(
        self, weight: float, drawn: Mapping[str, int], rest: Rest, into: list[Derivation]
    ) -> None:
        """Append the derivations of this probability that continue with `rest`."""
        if rest is None:
            return
        part, after = rest
        if isinstance(part, Rule):
            for alternative in part.alternatives:
                below = after
                for each in reversed(alternative):
                    below = (each, below)
                self._enter(weight / len(part.alternatives), drawn, below, into)
        elif part.variable is not None and part.variable in drawn:
            into.append((weight, part.only(drawn[part.variable]), NONE, drawn, None, after))
        else:
            taken = frozenset(drawn[each] for each in part.rivals if each in drawn)
            each_option = weight / part.root.count(taken)
            into.append((each_option, part.root, taken, drawn, part.variable, after))

    def _write(self, prefix: Prefix, row: FloatArray) -> None:
        """Write the log probabilities of the next token to (vocabulary,), all `IMPOSSIBLE`."""
        derivations, total = prefix
        if not derivations:
            row[:] = -np.log(self.vocabulary_size)
            return
        weights: dict[str, float] = {}
        for weight, node, taken, *_ in derivations:
            for symbol, child in node.below.items():
                weights[symbol] = weights.get(symbol, 0.0) + weight * child.count(taken)
        for symbol, weight in weights.items():
            if weight:
                row[self._token_of[symbol]] = np.log(weight / total)


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
    """Return the oracle of a checkpoint, by its name.

    Raises
    ------
    ValueError
        If the arrays are not those of an oracle.
    InputError
        If the grammar is not valid.
    """
    if arrays.keys() != {GRAMMAR, SYMBOLS} or {each.ndim for each in arrays.values()} != {1}:
        raise ValueError(f"an oracle consists of the arrays {GRAMMAR} and {SYMBOLS}")
    symbols = arrays[SYMBOLS]
    if symbols.dtype not in (np.uint8, np.uint32) or len(symbols) != vocabulary_size:
        raise ValueError(f"{SYMBOLS} must be {vocabulary_size} code points or bytes")
    if symbols.max() >= 0x110000:
        raise ValueError(f"{SYMBOLS} has a value that is no code point")
    return {name: Oracle(Grammar(json.loads(arrays[GRAMMAR].tobytes())), symbols)}
