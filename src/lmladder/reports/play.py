"""The playground: a page that runs the models of a ladder in the browser (layout/play.js).

The page has a description of its models in JSON, and their arrays in one deflated block.
`DESCRIBED` has the kinds of rungs that it can run.
"""

import base64
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from lmladder.data import ByteTokenizer, CharTokenizer, Tokenizer
from lmladder.data.tales import Grammar, Part
from lmladder.models import label, restore_models
from lmladder.models.counts import CountTables
from lmladder.models.kind import KINDS, model_settings
from lmladder.models.mixture import TEXTS, WEIGHTS, Mixture, below, member_checkpoints
from lmladder.models.mlp import Mlp
from lmladder.models.ngram import Counts
from lmladder.models.oracle import GRAMMAR, Oracle
from lmladder.models.transformer import Transformer
from lmladder.reports.page import render
from lmladder.system.arrays import Array
from lmladder.system.errors import InputError, RunError
from lmladder.training.checkpoint import Checkpoint

import numpy as np
from markupsafe import Markup

Arrays: TypeAlias = Mapping[str, Array]


class Block:
    """The arrays of a page, one after the other; equal arrays are stored once."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._first: dict[bytes, int] = {}

    def add(self, arrays: Arrays) -> dict[str, tuple[str, int, int]]:
        """Store arrays; return (type, first byte, number of values) of each."""
        return {name: self._added(half(array)) for name, array in arrays.items()}

    def _added(self, array: Array) -> tuple[str, int, int]:
        content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        if content not in self._first:
            self._first[content] = len(self._bytes)
            self._bytes += content
        return f"{array.dtype.kind}{array.dtype.itemsize}", self._first[content], array.size

    def encoded(self) -> str:
        """Return all arrays as base64 of deflated bytes."""
        return base64.b64encode(zlib.compress(bytes(self._bytes), 9)).decode()


def half(array: Array) -> Array:
    """Return a float32 array in float16, if none of its values is too large; others as they are."""
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    return rounded if np.isfinite(rounded).all() else array


def render_play(
    checkpoints: Mapping[str, Checkpoint], text: str, order: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """Return the page, and one line for each rung that it cannot run.

    Parameters
    ----------
    checkpoints : by their names in messages
    text : that the page begins with
    order : the names of the models that are shown first; the others are in the order of the
        checkpoints, those of one from strong to weak

    Raises
    ------
    InputError
        If the tokens of a checkpoint are neither characters nor bytes, or differ from those of
        another, or the page can run none of the rungs.
    RunError
        If a weight is not finite.
    """
    block, skipped = Block(), []
    rungs: list[dict[str, Any]] = []
    models: list[dict[str, Any]] = []
    first, checkpoint = next(iter(checkpoints.items()))
    tokenizer = checkpoint.restore_tokenizer()
    characters = _characters(tokenizer, first)
    for source, each in checkpoints.items():
        if each.tokenizer != checkpoint.tokenizer:
            raise InputError(f"{source} has other tokens than {first}; a page has one tokenizer")
        names = reversed(restore_models(each))
        if not all(np.isfinite(array).all() for array in each.model.values()):
            raise RunError(f"the weights of {source} are not finite; they are damaged")
        try:
            rung = _rung(each, block)
        except NotImplementedError as error:
            skipped.append(f"{source} is not on the page, which cannot run {error}")
            continue
        kind, taken = KINDS[each.kind], {model["label"] for model in models}
        for name in names:
            own = label(name, each.kind)
            shown = f"{own} ({source})" if own in taken else own
            color = "currentColor" if kind.is_truth else kind.color
            models.append({"rung": len(rungs), "name": name, "label": shown, "color": color})
        rungs.append(rung)
    if not rungs:
        raise InputError(f"there is nothing to show: {'; '.join(skipped)}")
    models.sort(key=lambda each: [*order, each["name"]].index(each["name"]))
    description = {
        "vocabulary": tokenizer.vocabulary_size,
        "characters": characters,
        "first": tokenizer.first,
        "rungs": rungs,
        "models": models,
    }
    page = render(
        "play.html.jinja",
        script="play.js",
        title="Playground",
        text=text,
        models=models,
        skipped=skipped,
        # No name in the description can end the element that contains it.
        description=Markup(json.dumps(description, separators=(",", ":")).replace("<", "\\u003c")),
        arrays=Markup(block.encoded()),
    )
    return page, skipped


def _rung(checkpoint: Checkpoint, block: Block) -> dict[str, Any]:
    """Return the description of a rung; NotImplementedError, with its kind, for one without."""
    describe = DESCRIBED.get(KINDS[checkpoint.kind])
    if describe is None:
        raise NotImplementedError(f"the kind {checkpoint.kind}")
    facts = {"name": checkpoint.name, "kind": checkpoint.kind}
    settings = model_settings(checkpoint).model_dump()
    return {**facts, "settings": settings, **describe(checkpoint, block)}


def network(checkpoint: Checkpoint, block: Block) -> dict[str, Any]:
    """Describe a neural model: its parameters by their names."""
    return {"arrays": block.add(checkpoint.model)}


def counts(checkpoint: Checkpoint, block: Block) -> dict[str, Any]:
    """Describe count models: for each order the last tokens of all n-grams, and their counts.

    The number of children of each n-gram is stored instead of the prefix of each child.
    """
    tables = CountTables.from_arrays(checkpoint.model, checkpoint.vocabulary_size)
    stored = {}
    for order in range(1, tables.order + 1):
        prefixes, last_tokens = tables.prefixes_and_last_tokens(order)
        children = np.bincount(prefixes, minlength=tables.size(order - 1))
        named = {"last": last_tokens, "children": children, "counts": tables.counts(order)}
        for name, each in named.items():
            smallest = np.min_scalar_type(int(each.max(initial=0)))
            stored[f"{name}_{order}"] = each.astype(smallest)
    return {"arrays": block.add(stored)}


def mixture(checkpoint: Checkpoint, block: Block) -> dict[str, Any]:
    """Describe a mixture: its members, and the weights that were fitted on the whole text."""
    return {
        "arrays": block.add(below(checkpoint.model, f"{WEIGHTS}.{TEXTS[0]}")),
        "members": [_rung(each, block) for each in member_checkpoints(checkpoint)],
    }


def oracle(checkpoint: Checkpoint, block: Block) -> dict[str, Any]:
    """Describe an oracle: the parts of the compiled grammar, each once, by their numbers.

    A part is (number of its variable, those of its rivals, options), an option (text, its parts).
    """
    grammar = Grammar(json.loads(checkpoint.model[GRAMMAR].tobytes()))
    variables = {name: index for index, name in enumerate(grammar.source["variables"])}
    numbers: dict[str, int] = {}
    parts: list[tuple[Any, ...]] = []

    def number(part: Part) -> int:
        options: list[tuple[str, list[int]]] = []
        for option in part.options:
            inside = option.parts
            # Text alone, without parts of its own, is compared at once with its alternatives.
            plain = len(inside) == 1 and len(inside[0].options) == 1 and not inside[0].variable
            if plain and not inside[0].options[0].parts:
                options.append((inside[0].options[0].text, []))
            else:
                options.append((option.text, [number(each) for each in inside]))
        variable = None if part.variable is None else variables[part.variable]
        found = (variable, [variables[each] for each in part.rivals], options)
        key = json.dumps(found)
        if key not in numbers:
            numbers[key] = len(parts)
            parts.append(found)
        return numbers[key]

    return {"start": number(grammar.start), "parts": parts, "arrays": {}}


DESCRIBED: dict[type[Any], Callable[[Checkpoint, Block], dict[str, Any]]] = {
    Counts: counts,
    Mlp: network,
    Transformer: network,
    Mixture: mixture,
    Oracle: oracle,
}


def _characters(tokenizer: Tokenizer, source: str) -> str | None:
    """Return the characters that the tokens are; None for bytes."""
    if isinstance(tokenizer, CharTokenizer):
        return tokenizer.characters
    if isinstance(tokenizer, ByteTokenizer):
        return None
    raise InputError(
        f"{source} has the tokenizer {tokenizer.name}; the page needs char or byte, as it shows "
        "what follows each character"
    )
