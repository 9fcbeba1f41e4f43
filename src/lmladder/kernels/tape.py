"""A record of which functions wrote what into which arrays, to do it all again without the ado.

The kernels, and the engine where it computes, make their arrays with `empty` or `apply` and write
into them through `run`. All three just do it. But while a `Tape` records, they also note it: the
function, and of each array only where its numbers lie within the block of memory that it views.
From these notes `Tape.finish` makes a `Plan`: it knows from which call to which each block is
needed, and lets blocks share memory that are not needed at the same time. A `Program` of this plan
calls the same functions with the same numbers in the same order: it gives the same bits, and
allocates nothing.

An op that does other things to arrays is called again as a whole, by `Tape.call` and `Tape.pull`.
What a tape cannot follow it refuses by name: an array that was made elsewhere, unless `constant`
says that it stays as it is. Plain numbers, and arrays without axes, are constants.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from lmladder.arrays import Array

import numpy as np
from numpy.lib.array_utils import byte_bounds

ALIGNMENT = 64  # bytes: a cache line

_recording: ContextVar["Tape | None"] = ContextVar("tape", default=None)


class RefusedError(Exception):
    """What was recorded cannot be done again; the message says why."""


def run(function: Callable[..., object], *arguments: Any) -> None:
    """function(*arguments), which writes into arrays among them that it does not read."""
    function(*arguments)
    if (tape := _recording.get()) is not None:
        tape.note(function, arguments)


def apply(function: Callable[..., Any], *arguments: Any) -> Array:
    """function(*arguments), such as a ufunc, that takes an array for its result as one more."""
    out = np.asarray(function(*arguments))
    if (tape := _recording.get()) is not None:
        tape.own(out)
        tape.note(function, (*arguments, out))
    return out


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """np.empty."""
    out = np.empty(shape, dtype)
    if (tape := _recording.get()) is not None:
        tape.own(out)
    return out


def empty_like(array: Array) -> Array:
    """np.empty_like, which lays the result out in memory as `array` is."""
    out = np.empty_like(array)
    if (tape := _recording.get()) is not None:
        tape.own(out)
    return out


def reshape(array: Array, shape: int | tuple[int, ...]) -> Array:
    """array.reshape(shape): a view where memory allows, else a copy."""
    out = array.reshape(shape)
    if (tape := _recording.get()) is not None and not tape.knows(out):
        tape.own(out)
        tape.note(np.copyto, (out.reshape(array.shape), array))
    return out


def contiguous(array: Array) -> Array:
    """The array if its numbers lie in order, one after another, else a copy in which they do."""
    if array.flags.c_contiguous:
        return array
    out = empty(array.shape, array.dtype)
    run(np.copyto, out, array)
    return out


def constant(array: Array) -> Array:
    """The array itself; what is recorded from now on may rely on it to stay as it is."""
    if (tape := _recording.get()) is not None:
        tape.keep(array)
    return array


def recording() -> "Tape | None":
    """The tape that records what this thread does."""
    return _recording.get()


@dataclass(frozen=True, slots=True)
class _View:
    """Where an array's numbers lie in a block of memory."""

    block: int
    offset: int  # bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class _Given:
    """Stands for a generator of random numbers, an input by number."""

    number: int


KEPT = -1  # stands for the number of a block that is an array's own memory


class Tape:
    """Records what is done in `with tape.on():`.

    Parameters
    ----------
    inputs : what may be different each time: the numbers in arrays, and generators of random
        numbers; anything else stays
    """

    def __init__(self, inputs: Sequence[Any] = ()):
        self._calls: list[tuple[Callable[..., object], Any]] = []
        self._refusal: str | None = None
        self._blocks: list[int] = []  # bytes of memory that a program has to find
        self._known: dict[int, tuple[weakref.ref[Array], int]] = {}  # by the id of a memory's owner
        self._inputs = list(inputs)
        self._given = {
            id(each): number
            for number, each in enumerate(inputs)
            if isinstance(each, np.random.Generator)
        }
        for each in inputs:
            if _is_array(each):
                self.own(each)

    @contextmanager
    def on(self) -> Iterator[None]:
        token = _recording.set(self)
        try:
            yield
        finally:
            _recording.reset(token)

    def own(self, array: Array) -> None:
        """`array` is new, and a program has to find memory of its own for it."""
        owner = _owner(array)
        self._known[id(owner)] = (weakref.ref(owner), len(self._blocks))
        self._blocks.append(owner.nbytes)

    def keep(self, array: Array) -> None:
        """`array` stays where it is, with all that shares its memory; only others may change it."""
        owner = _owner(array)
        if self._number(owner) is None:
            self._known[id(owner)] = (weakref.ref(owner), KEPT)

    def knows(self, array: Any) -> bool:
        """Whether a program will have these numbers."""
        return _is_array(array) and self._number(_owner(array)) is not None

    def note(self, function: Callable[..., object], arguments: Sequence[Any]) -> None:
        """A program is to call function(*arguments) here."""
        try:
            self._calls.append((function, _mapped(self._noted, tuple(arguments))))
        except RefusedError as error:
            whole = arguments[0] if function is _Again.forward else function
            name = _name(getattr(whole, "__self__", whole))  # np.add.reduce is of np.add
            self._refusal = self._refusal or f"{name} {error}"

    def call(
        self, function: Callable[..., Any], arrays: Sequence[Array], options: Mapping[str, Any]
    ) -> Any:
        """function(*arrays, **options), which gives a value and its pullback; see `op`."""
        made, followed = self._follow(
            lambda: function(*arrays, **options), lambda made: made[:1] if _is_pair(made) else ()
        )
        if not _is_pair(made):
            return made
        value, pullback = made
        recorded = _Pullback(pullback, _Again(function), arrays, options, followed)
        if not followed:
            value = self._copied(value)
            self.note(_Again.forward, (recorded.again, arrays, options, value))
        return value, recorded

    def pull(self, pullback: Callable[[Array], Any], grad: Array) -> Any:
        """pullback(grad): a gradient or None for each input of an op that `call` called."""
        if not isinstance(pullback, _Pullback):
            return pullback(grad)
        op = pullback
        parts, followed = self._follow(
            lambda: op.function(grad),
            lambda parts: parts if op.followed and isinstance(parts, tuple) else (NotImplemented,),
        )
        if followed or not isinstance(parts, tuple):
            return parts
        if op.followed:
            self.note(_Again.forward, (op.again, op.arrays, op.options, None))
        copies = tuple(None if part is None else self._copied(part) for part in parts)
        self.note(_Again.backward, (op.again, grad, op.arrays, copies))
        return copies

    def _follow(
        self, compute: Callable[[], Any], results: Callable[[Any], Any]
    ) -> tuple[Any, bool]:
        """compute(), and whether what it did is now recorded; if not, nothing of it is."""
        n_calls, n_blocks, refusal = len(self._calls), len(self._blocks), self._refusal
        made = compute()
        known = [each is None or self.knows(each) for each in results(made)]
        if self._refusal == refusal and all(known):
            return made, True
        del self._calls[n_calls:]
        for owner in [owner for owner, (_, number) in self._known.items() if number >= n_blocks]:
            del self._known[owner]
        self._refusal = refusal
        return made, False

    def _copied(self, given: Any) -> Array:
        """The same numbers, laid out alike, for that may decide how they are summed."""
        array = np.asarray(given)
        low, high = byte_bounds(array)
        memory = empty(high - low, np.uint8)
        copy = np.ndarray(array.shape, array.dtype, memory, _address(array) - low, array.strides)
        copy[...] = array
        return copy

    def _noted(self, given: Any) -> Any:
        """What stands in a note for an argument."""
        if isinstance(given, np.random.Generator):
            if id(given) not in self._given:
                raise RefusedError("draws from a generator that is no input")
            return _Given(self._given[id(given)])
        if not _is_array(given):
            return given
        owner = _owner(given)
        number = self._number(owner)
        if number is None:
            if given.ndim:
                raise RefusedError(f"reads an array of shape {given.shape} that was made elsewhere")
            return np.array(given)
        if number == KEPT:
            return given
        offset = _address(given) - _address(owner)
        return _View(number, offset, given.shape, given.strides, given.dtype)

    def _number(self, owner: Array) -> int | None:
        reference, number = self._known.get(id(owner), (None, None))
        return number if reference is not None and reference() is owner else None

    def finish(self, results: Sequence[Array]) -> "Plan":
        """What was recorded, as a plan for programs that leave `results`; ends the recording.

        Raises
        ------
        RefusedError
            If a program would not do the same.
        """
        try:
            left = self._apart(results)
        except RefusedError as error:
            raise RefusedError(self._refusal or f"a result {error}") from None
        if self._refusal is not None:
            raise RefusedError(self._refusal)
        inputs = [self._noted(each) for each in self._inputs]
        return Plan(self._calls, self._blocks, inputs, left)

    def _apart(self, results: Sequence[Array]) -> list[_View]:
        """The results, each in order and alone in a block; copied there where they are not."""
        taken: set[int] = set()
        left: list[_View] = []
        for each in results:
            noted = self._noted(each)
            whole = isinstance(noted, _View) and self._blocks[noted.block] == each.nbytes
            if not (whole and each.flags.c_contiguous and noted.block not in taken):
                apart = np.empty(each.shape, each.dtype)
                self.own(apart)
                self.note(np.copyto, (apart, each))
                noted = self._noted(apart)
            taken.add(noted.block)
            left.append(noted)
        return left


class Plan:
    """Where a program puts what was recorded: the results and inputs apart, all else in scratch.

    Results come in order, and share memory with nothing; in scratch blocks do that are not needed
    at the same time.

    Parameters
    ----------
    calls : functions with noted arguments
    blocks : the bytes of each block
    inputs, results : as they are noted
    """

    def __init__(
        self,
        calls: Sequence[tuple[Callable[..., object], Any]],
        blocks: Sequence[int],
        inputs: Sequence[Any],
        results: Sequence[_View],
    ):
        self._calls, self._inputs, self._results = calls, inputs, results
        self._starts: dict[int, int] = {}  # of blocks in a program's own memory
        own = _Gaps()
        for view in results:
            self._starts[view.block] = own.take(blocks[view.block])
        self._end = own.end
        for block in _blocks_of(inputs):
            self._starts[block] = own.take(blocks[block])
        self._n_own = own.end
        last: dict[int, int] = {}  # the call in which a block of the scratch is used last
        for place, (_, arguments) in enumerate(calls):
            last |= {block: place for block in _blocks_of(arguments) if block not in self._starts}
        scratch = _Gaps()
        self._scratch_starts: dict[int, int] = {}
        for place, (_, arguments) in enumerate(calls):
            used = dict.fromkeys(block for block in _blocks_of(arguments) if block in last)
            for block in used:
                if block not in self._scratch_starts:
                    self._scratch_starts[block] = scratch.take(blocks[block])
            for block in used:
                if last[block] == place:
                    scratch.give_back(self._scratch_starts[block], blocks[block])
        self._n_scratch = scratch.end

    def scratch(self) -> Array:
        """Memory for a program; programs that never run at the same time may have the same."""
        return _memory(self._n_scratch)

    def program(self, scratch: Array) -> "Program":
        """A program that works in `scratch`; its results are its own."""
        own = _memory(self._n_own)
        ops: dict[int, _Again] = {}  # the program's own, by the id of the recorded one

        def real(noted: Any) -> Any:
            if isinstance(noted, _Again):
                return ops.setdefault(id(noted), _Again(noted.function))
            if not isinstance(noted, _View):
                return noted
            if noted.block in self._starts:
                memory, start = own, self._starts[noted.block]
            else:
                memory, start = scratch, self._scratch_starts[noted.block]
            return np.ndarray(noted.shape, noted.dtype, memory, start + noted.offset, noted.strides)

        return Program(
            [(function, _mapped(real, arguments)) for function, arguments in self._calls],
            _mapped(real, self._inputs),
            _mapped(real, self._results),
            own[: self._end],
        )


class Program:
    """What a tape has recorded, to be done again.

    Attributes
    ----------
    calls : functions with their arguments, in the order in which they are called
    results : arrays that each call of the program writes anew
    """

    def __init__(
        self,
        calls: list[tuple[Callable[..., object], Any]],
        inputs: Sequence[Any],
        results: Sequence[Array],
        memory: Array,
    ):
        self.calls = calls
        self.results = results
        self._inputs = inputs
        self._memory = memory  # of the results
        self._fitted = [  # places of the calls that take an input, with what was noted there
            (place, call) for place, call in enumerate(calls) if _takes_input(call[1])
        ]

    def in_a_row(self, dtype: Any) -> Array:
        """All results, of this one type, as one vector; between them there may be zeros."""
        return self._memory.view(dtype)

    def __call__(self, *inputs: Any) -> None:
        """Do it all with other inputs, of the same shapes and types as those recorded."""

        def fit(noted: Any) -> Any:
            return inputs[noted.number] if isinstance(noted, _Given) else noted

        for own, given in zip(self._inputs, inputs, strict=True):
            if _is_array(own):
                np.copyto(own, given)
        for place, (function, noted) in self._fitted:
            self.calls[place] = (function, _mapped(fit, noted))
        for function, arguments in self.calls:
            function(*arguments)


class _Again:
    """An op that a program calls as a whole, forward and then back."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.__name__ = _name(function)
        self.pullback: Callable[[Array], Any] | None = None

    def forward(
        self, arrays: Sequence[Array], options: Mapping[str, Any], out: Array | None
    ) -> None:
        value, self.pullback = self.function(*arrays, **options)
        if out is not None:
            out[...] = value

    def backward(self, grad: Array, arrays: Sequence[Array], out: Sequence[Array | None]) -> None:
        """The gradients of `arrays`, those that `forward` got: the pullback reads them again."""
        assert self.pullback is not None
        for part, into in zip(self.pullback(grad), out, strict=True):
            if into is not None:
                into[...] = part
        self.pullback = None  # and with it the arrays that it holds


class _Pullback:
    """The pullback of an op that was recorded, and what it takes to call the op again.

    `followed` says that it need not be: what the op did for its value is recorded.
    """

    def __init__(
        self,
        function: Callable[[Array], Any],
        again: _Again,
        arrays: Sequence[Array],
        options: Mapping[str, Any],
        followed: bool,
    ):
        self.function, self.again = function, again
        self.arrays, self.options, self.followed = arrays, options, followed
        self.__name__ = _name(function)

    def __call__(self, grad: Array) -> Any:
        return self.function(grad)


class _Gaps:
    """Free parts of a memory that grows at its end. Of those that fit the smallest is taken."""

    def __init__(self) -> None:
        self.end = 0
        self.free: list[tuple[int, int]] = []  # (start, bytes) by start, no two of them touching

    def take(self, nbytes: int) -> int:
        """Where a block of so many bytes may begin."""
        nbytes = _aligned(nbytes)
        fitting = [gap for gap in self.free if gap[1] >= nbytes]
        if fitting:
            start, size = min(fitting, key=lambda gap: gap[1])
            self.free.remove((start, size))
            if size > nbytes:
                self.free = sorted([*self.free, (start + nbytes, size - nbytes)])
            return start
        start = self.end
        if self.free and sum(self.free[-1]) == self.end:  # the gap at the end grows
            start, _ = self.free.pop()
        self.end = start + nbytes
        return start

    def give_back(self, start: int, nbytes: int) -> None:
        """The block of so many bytes that begins there is free again."""
        joined: list[tuple[int, int]] = []
        for first, size in sorted([*self.free, (start, _aligned(nbytes))]):
            if joined and sum(joined[-1]) == first:
                before = joined.pop()
                joined.append((before[0], before[1] + size))
            else:
                joined.append((first, size))
        self.free = joined


def _memory(nbytes: int) -> Array:
    """Zeros, beginning with a cache line."""
    memory = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -_address(memory) % ALIGNMENT
    return memory[start : start + nbytes]


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _is_array(thing: Any) -> bool:
    return isinstance(thing, np.ndarray)


def _is_pair(made: Any) -> bool:
    return isinstance(made, tuple) and len(made) == 2


def _owner(array: Array) -> Array:
    """The array at the end of the chain of views."""
    base: Any = array
    while (base := getattr(base, "base", None)) is not None:
        if isinstance(base, np.ndarray):
            array = base
    return array


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _mapped(change: Callable[[Any], Any], given: Any) -> Any:
    """`given` with change(each) in place of each that is no sequence or mapping."""
    if isinstance(given, tuple | list):
        return tuple(_mapped(change, each) for each in given)
    if isinstance(given, dict):
        return {name: _mapped(change, each) for name, each in given.items()}
    return change(given)


def _blocks_of(noted: Any) -> list[int]:
    """The numbers of the blocks that some noted arguments view."""
    found: list[int] = []

    def find(each: Any) -> None:
        if isinstance(each, _View):
            found.append(each.block)

    _mapped(find, noted)
    return found


def _takes_input(noted: Any) -> bool:
    found: list[bool] = []
    _mapped(lambda each: found.append(isinstance(each, _Given)), noted)
    return any(found)


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__
