"""Planning memory for the calls that a trace has noted, and repeating them."""

import functools
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

from lmladder.system.arrays import Array

import numpy as np

ALIGNMENT = 64  # bytes: a cache line


@dataclass(frozen=True, slots=True)
class View:
    """Stands in a note for an array: where its elements are in a block of memory."""

    block: int
    offset: int  # bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Given:
    """Stands in a note for a generator of random numbers, an input by number."""

    number: int


class Call(NamedTuple):
    """function(*arguments, **options), or a note of it."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def is_of_ufunc(self) -> bool:
        """Whether the function is a ufunc or a ufunc's method."""
        return isinstance(getattr(self.function, "__self__", self.function), np.ufunc)

    @property
    def name(self) -> str:
        """Such as "matmul", or "add.reduce" for a ufunc's method."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        owner = getattr(self.function, "__self__", None)
        return f"{owner.__name__}.{name}" if isinstance(owner, np.ufunc) else name


class Plan:
    """Where a program puts what was noted: the results and inputs apart, all else in scratch.

    Results follow one another, and share memory with nothing; in scratch blocks do that are not
    needed at the same time.

    Parameters
    ----------
    calls : as noted
    sizes : the bytes of each block
    inputs, results : as noted
    """

    def __init__(
        self, calls: Sequence[Call], sizes: Sequence[int], inputs: list[Any], results: list[View]
    ):
        self._calls, self._inputs, self._results = calls, inputs, results
        self._end = sum(_aligned(sizes[view.block]) for view in results)
        always = (0, len(calls))
        own = dict.fromkeys(_blocks_of([results, inputs]), always)
        spans: dict[int, tuple[int, int]] = {}  # the first and the last call that needs a block
        for number, call in enumerate(calls):
            for block in _blocks_of(call):
                if block not in own:
                    spans[block] = (spans.get(block, (number, 0))[0], number)
        self._own, self._own_bytes = _placed(own, sizes)
        self._shared, self._shared_bytes = _placed(spans, sizes)

    def difference(self, other: "Plan") -> str | None:
        """Return the name of the first call that another plan does not make alike, if there is one.

        Arrays that are not planned are alike if they are the same one or have the same elements.
        """
        for mine, theirs in zip_longest(self._calls, other._calls):
            if mine is None or theirs is None or not _alike(mine, theirs):
                return (mine or theirs).name
        return None

    def scratch(self) -> Array:
        """Return memory for a program; programs that never run at the same time may share it."""
        return _memory(self._shared_bytes)

    def program(self, scratch: Array) -> "Program":
        """Return a program that works in `scratch`; its results are its own."""
        own = _memory(self._own_bytes)
        memory = {block: own[start:] for block, start in self._own.items()}
        memory |= {block: scratch[start:] for block, start in self._shared.items()}

        def real(noted: Any) -> Any:
            if not isinstance(noted, View):
                return noted
            block = memory[noted.block]
            return np.ndarray(noted.shape, noted.dtype, block, noted.offset, noted.strides)

        calls = []
        for function, arguments, options in mapped(real, self._calls):
            function = functools.partial(function, **options) if options else function
            calls.append((function, arguments))
        inputs, results = mapped(real, self._inputs), mapped(real, self._results)
        return Program(calls, inputs, results, own[: self._end])


@dataclass
class Program:
    """What a trace has noted, to be repeated.

    Attributes
    ----------
    calls : functions with their arguments, in the order in which they are called
    inputs : the program's own copies of those that are arrays
    results : arrays that each call of the program overwrites
    memory : of the results
    """

    calls: list[tuple[Callable[..., object], Any]]
    inputs: list[Any]
    results: list[Array]
    memory: Array

    def __post_init__(self) -> None:
        self._drawing = [  # the calls that take a generator, by number
            (number, call)
            for number, call in enumerate(self.calls)
            if any(isinstance(each, Given) for each in leaves(call))
        ]

    def as_flat_vector(self, dtype: Any) -> Array:
        """All results, of this one type, as one vector; between them there may be zeros."""
        return self.memory.view(dtype)

    def __call__(self, *inputs: Any) -> None:
        """Repeat the calls with other inputs, of the same shapes and types as those recorded."""
        for own, given in zip(self.inputs, inputs, strict=True):
            if isinstance(own, np.ndarray):
                np.copyto(own, given)
        for number, call in self._drawing:
            self.calls[number] = mapped(
                lambda noted: inputs[noted.number] if isinstance(noted, Given) else noted, call
            )
        for function, arguments in self.calls:
            function(*arguments)


def _placed(
    spans: Mapping[int, tuple[int, int]], sizes: Sequence[int]
) -> tuple[dict[int, int], int]:
    """Where in a memory each block begins, and where the memory ends.

    In the order in which they are first needed, each block is given the lowest place that no block
    has that is needed at the same time.

    Parameters
    ----------
    spans : the first and the last call that needs a block
    sizes : the bytes of each block
    """
    starts: dict[int, int] = {}
    end = 0
    taken: list[tuple[int, int, int]] = []  # (start, end, last call), in this order
    for block, (first, last) in sorted(spans.items(), key=lambda item: item[1][0]):
        taken = [each for each in taken if each[2] >= first]
        start, nbytes = 0, _aligned(sizes[block])
        for other_start, other_end, _ in taken:
            if start + nbytes <= other_start:
                break
            start = other_end
        insort(taken, (start, start + nbytes, last))
        starts[block] = start
        end = max(end, start + nbytes)
    return starts, end


def _memory(nbytes: int) -> Array:
    """Zeros, beginning with a cache line."""
    memory = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -address(memory) % ALIGNMENT
    return memory[start : start + nbytes]


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def address(array: Array) -> int:
    """Where an array's first element is in memory."""
    return int(array.__array_interface__["data"][0])


def mapped(change: Callable[[Any], Any], given: Any) -> Any:
    """`given` with change(each) in place of each element of its tuples, lists and dicts."""
    if isinstance(given, tuple):
        return tuple(mapped(change, each) for each in given)
    if isinstance(given, list):
        return [mapped(change, each) for each in given]
    if isinstance(given, dict):
        return {name: mapped(change, each) for name, each in given.items()}
    return change(given)


def leaves(given: Any) -> list[Any]:
    """The elements of tuples, lists and dicts, of those within them too."""
    found: list[Any] = []
    mapped(found.append, given)
    return found


def _alike(one: Any, other: Any) -> bool:
    """Whether two notes ask for the same."""
    if isinstance(one, np.ndarray):
        return one is other or (isinstance(other, np.ndarray) and np.array_equal(one, other))
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    return type(one) is type(other) and (one is other or bool(one == other))


def _blocks_of(noted: Any) -> list[int]:
    """The numbers of the blocks that some notes view."""
    return [each.block for each in leaves(noted) if isinstance(each, View)]
