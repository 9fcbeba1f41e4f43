"""Planning memory for the calls that a trace has recorded, and repeating them."""

from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

from lmladder.system.arrays import Array

import numpy as np

ALIGNMENT = 64  # bytes: a cache line


@dataclass(frozen=True, slots=True)
class View:
    """Replaces an array in a recorded call: where its elements are in a block of memory."""

    block: int
    offset: int  # bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    def of(self, memory: Array) -> Array:
        """Return the array that begins at `offset` of this memory of the block."""
        return np.ndarray(self.shape, self.dtype, memory, self.offset, self.strides)


@dataclass(frozen=True, slots=True)
class Given:
    """Replaces a random generator in a recorded call: an input, by number."""

    number: int


class Call(NamedTuple):
    """The call function(*arguments, **options), made or recorded."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def is_of_ufunc(self) -> bool:
        """Whether the function is a ufunc or a ufunc's method."""
        return isinstance(getattr(self.function, "__self__", self.function), np.ufunc)

    @property
    def name(self) -> str:
        """The name of the function, such as "matmul" or "add.reduce"."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        owner = getattr(self.function, "__self__", None)
        return f"{owner.__name__}.{name}" if isinstance(owner, np.ufunc) else name


class Plan:
    """The memory of a program: its own for inputs and results, and scratch for all other blocks.

    Results are consecutive in memory. Blocks in scratch share memory if they are not needed at the
    same time.

    Parameters
    ----------
    calls : the recorded calls
    sizes : size of each block in bytes
    inputs, results : as recorded, with a View for each array
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
        """Return the name of the first call in which two plans differ, or None.

        Arrays without a View are equal if they are the same object or have the same elements.
        """
        for mine, theirs in zip_longest(self._calls, other._calls):
            if mine is None or theirs is None or not _equal(mine, theirs):
                return (mine or theirs).name
        return None

    def scratch(self) -> Array:
        """Return memory for programs that never run at the same time."""
        return _memory(self._shared_bytes)

    def program(self, scratch: Array) -> "Program":
        """Return a program that uses `scratch`, and its own memory for inputs and results."""
        own = _memory(self._own_bytes)
        memory = {block: own[start:] for block, start in self._own.items()}
        memory |= {block: scratch[start:] for block, start in self._shared.items()}

        def array(recorded: Any) -> Any:
            return recorded.of(memory[recorded.block]) if isinstance(recorded, View) else recorded

        recorded, inputs, results = mapped(array, (self._calls, self._inputs, self._results))
        calls = [(partial(f, **options) if options else f, args) for f, args, options in recorded]
        return Program(calls, inputs, results, own[: self._end])


@dataclass
class Program:
    """The calls of a trace, with arrays of this program, to be repeated.

    Attributes
    ----------
    calls : functions with their arguments, in the order in which they are called
    inputs : arrays into which the array inputs are copied
    results : arrays that each call of the program overwrites
    memory : the memory of the results, in bytes, with zeros between them for alignment
    """

    calls: list[tuple[Callable[..., object], Any]]
    inputs: list[Any]
    results: list[Array]
    memory: Array

    def __post_init__(self) -> None:
        self._drawing = [  # the calls that use a generator, with their numbers
            (number, call)
            for number, call in enumerate(self.calls)
            if any(isinstance(each, Given) for each in leaves(call))
        ]

    def __call__(self, *inputs: Any) -> None:
        """Repeat the calls with inputs of the same shapes and dtypes as the recorded ones."""
        for own, given in zip(self.inputs, inputs, strict=True):
            if isinstance(own, np.ndarray):
                np.copyto(own, given)
        for number, call in self._drawing:
            self.calls[number] = mapped(
                lambda each: inputs[each.number] if isinstance(each, Given) else each, call
            )
        for function, arguments in self.calls:
            function(*arguments)


def _placed(
    spans: Mapping[int, tuple[int, int]], sizes: Sequence[int]
) -> tuple[dict[int, int], int]:
    """Return the offset of each block in memory, and the size of the memory.

    In the order in which they are first needed, each block gets the lowest offset at which it does
    not overlap with a block that is needed at the same time.

    Parameters
    ----------
    spans : the first and the last call that need each block
    sizes : size of each block in bytes
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
    """Return memory filled with zeros, aligned to a cache line."""
    memory = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -address(memory) % ALIGNMENT
    return memory[start : start + nbytes]


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def address(array: Array) -> int:
    """Return the address of the first element of an array."""
    return int(array.__array_interface__["data"][0])


def mapped(change: Callable[[Any], Any], given: Any) -> Any:
    """Apply a function to each element of nested tuples, lists and dicts."""
    if isinstance(given, tuple):
        return tuple(mapped(change, each) for each in given)
    if isinstance(given, list):
        return [mapped(change, each) for each in given]
    if isinstance(given, dict):
        return {name: mapped(change, each) for name, each in given.items()}
    return change(given)


def leaves(given: Any) -> list[Any]:
    """Return the elements of nested tuples, lists and dicts."""
    found: list[Any] = []
    mapped(found.append, given)
    return found


def _equal(one: Any, other: Any) -> bool:
    """Return whether two recorded calls, or parts of them, are equal."""
    if isinstance(one, np.ndarray):
        return one is other or (isinstance(other, np.ndarray) and np.array_equal(one, other))
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    return type(one) is type(other) and (one is other or bool(one == other))


def _blocks_of(recorded: Any) -> list[int]:
    """Return the numbers of the blocks that recorded calls use."""
    return [each.block for each in leaves(recorded) if isinstance(each, View)]
