"""Following what a function does with arrays, so that a program can repeat it.

While a `Trace` follows a function, its arrays are `Traced` objects that stand for them. They take
part in NumPy's protocols for array-like objects (NEP 13 and NEP 18): each ufunc, function or method
that is called with one reaches the trace, which calls it with the plain arrays and notes the call.
An ndarray subclass would do so too, but C code such as `np.asarray` reads one without asking. Of a
`Traced` it asks for the values, by `__array__` or `__float__`, so the trace knows when they leave.

What a program could not repeat ends the trace, and `refusal` names it: an array that was made
elsewhere and may change, values that leave NumPy, results whose shape or place depends on values.
The function goes on with plain arrays, so its result is right in any case.
"""

import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from lmladder.system.arrays import Array
from lmladder.tracing.plan import Call, Given, Plan, View, address, leaves, mapped

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.lib.mixins import NDArrayOperatorsMixin

KINDS = np.ndarray | np.generic | np.random.Generator  # what a Traced may stand for
# What may be asked of an array without knowing its values.
FACTS = ("dtype", "flags", "itemsize", "nbytes", "ndim", "result_type", "setflags", "shape", "size")
# Functions and methods, of arrays and generators, that a trace follows besides ufuncs, by how many
# of their first arguments may depend on the inputs. The others, such as an axis, decide on shapes.
_FOLLOWED = {
    1: "all any argmax argmin argsort astype broadcast_to concat concatenate copy cumsum cumprod "
    "diagonal diff empty_like expand_dims flatten flip max mean min moveaxis ones_like pad prod "
    "random ravel reshape roll round sliding_window_view sort split squeeze stack standard_normal "
    "std sum swapaxes transpose tril triu var view zeros_like",
    2: "choice copyto dot fill full_like getitem inner ipow outer permutation pow take "
    "take_along_axis tensordot",
    3: "clip integers normal setitem uniform where",
    sys.maxsize: "einsum",
}
FOLLOWED = {name: count for count, names in _FOLLOWED.items() for name in names.split()}
TO_BE_WRITTEN = ("copy", "empty_like", "full_like", "ones_like", "zeros_like")
TAKE_OUT = ("concatenate", "max", "min", "random", "standard_normal", "sum")  # besides ufuncs
# Operators that are no ufuncs (`pow` calls one of several), and protocols by which values leave.
OPERATORS = ("getitem", "setitem", "pow", "ipow")
LEAVING = "array bool complex contains float format index int reduce_ex repr str"

_current: ContextVar["Trace | None"] = ContextVar("trace", default=None)


def run(function: Callable[..., object], *arguments: Any) -> None:
    """Call a function that NumPy does not dispatch, such as a compiled one, with plain arrays.

    It writes its results into arrays among the arguments, and depends on nothing else.
    """
    if (trace := _current.get()) is None:
        function(*arguments)
    else:
        trace.follow(Call(function, arguments, {}), trace.note_run)


def constant(array: Array) -> Array:
    """Return the array itself, which programs may rely on to keep its values."""
    trace = _current.get()
    return array if trace is None else trace.constant(array)


def asarray(given: Any) -> Array:
    """np.asarray; a traced array stays one, and numbers of Python's own are constants."""
    given = current(given)
    if type(given) is Traced:
        return Traced(given._trace, given._array, given._block)  # type: ignore[return-value]
    array = np.asarray(given)
    return array if _current.get() is None or _may_change(given) else constant(array)


def current(given: Any) -> Any:
    """Return `given`, or the array that it stood for while its trace was active."""
    return plain(given) if type(given) is Traced and not given._trace.active else given


def plain(given: Any) -> Any:
    """Return `given` with arrays and generators in place of what stands for them."""
    return mapped(lambda each: each._plain if type(each) is Traced else each, given)


@dataclass(frozen=True, slots=True)
class Block:
    """The memory of an array and of its views.

    Attributes
    ----------
    low, high : the addresses where it begins and ends
    number : by which a plan knows it; None if programs use this very memory
    is_constant : whether it keeps its values
    """

    low: int
    high: int
    number: int | None = None
    is_constant: bool = False


class RejectedError(Exception):
    """A program could not repeat a call; the message follows its name and says why."""


class Traced(NDArrayOperatorsMixin):
    """Stands for an array, a NumPy scalar or a generator, and passes for one with `isinstance`."""

    __slots__ = ("_array", "_block", "_plain", "_trace")

    def __init__(self, trace: "Trace", array: Any, block: Any, is_scalar: bool = False):
        self._trace, self._array, self._block = trace, array, block
        self._plain = array[()] if is_scalar else array

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._plain)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(each, np.generic) for each in options.get("out", ())):
            del options["out"]  # a += b makes another scalar
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return self._trace.follow(Call(function, inputs, options))

    def __array_function__(self, function: Any, _: Any, arguments: Any, options: Any) -> Any:
        return self._trace.follow(Call(function, arguments, options))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # a protocol that this class does not have
            raise AttributeError(name)
        found = getattr(self._array, name)
        if name in FACTS:
            return found
        if callable(found):
            method = getattr(type(self._array), name)
            this = asarray(self) if isinstance(self, np.generic) else self
            return lambda *given, **options: self._trace.follow(
                Call(method, (this, *given), options)
            )
        if isinstance(found, np.ndarray) and _is_within(found, self._block):  # such as T
            return Traced(self._trace, found, self._block)
        self._trace.refuse(f"the attribute {name} of what depends on the inputs")
        return found

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))


def _following(name: str) -> Callable[..., Any]:
    """Return a method of `Traced` for an operator."""
    function = getattr(operator, name)
    return lambda self, *given: self._trace.follow(Call(function, (self, *given), {}))


def _leaving(name: str) -> Callable[..., Any]:
    """Return a method of `Traced` by which values leave for where no trace can follow them."""

    def leave(self: Traced, *arguments: Any, **options: Any) -> Any:
        self._trace.refuse(f"{name} of what depends on the inputs")
        return getattr(self._array, name)(*arguments, **options)

    return leave


for _name in OPERATORS:
    setattr(Traced, f"__{_name}__", _following(_name))
for _name in LEAVING.split():
    setattr(Traced, f"__{_name}__", _leaving(f"__{_name}__"))


class Trace:
    """Notes what is done with arrays in `with trace.on():`.

    Attributes
    ----------
    refusal : why no program can repeat it; None if one can
    active : whether calls are still followed
    calls : those noted
    """

    def __init__(self) -> None:
        self.refusal: str | None = None
        self.active = True
        self.calls: list[Call] = []
        self._sizes: list[int] = []  # of the blocks that a program has to find memory for
        self._inputs: list[Any] = []  # as noted
        self._errors = np.geterr()

    @contextmanager
    def on(self) -> Iterator[None]:
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def input(self, given: Any) -> Any:
        """Return what stands for an array or a generator that will be another in each call.

        None, a Python number or a string is no such input: it has to be the same in each call.
        """
        kind, traced = type(given), given
        if isinstance(given, np.random.Generator):
            traced = Traced(self, given, Given(len(self._inputs)))
        elif isinstance(given, np.generic) or (kind is np.ndarray and not given.dtype.hasobject):
            traced = self._new(given.copy())
        elif not isinstance(given, int | float | str | None):
            self.refuse(f"an input of type {kind.__name__}")
        self._inputs.append(self._noted(traced) if traced is not given else None)
        return traced

    def live(self, made: Any, number: int | None = None, is_constant: bool = False) -> Any:
        """Return what stands for an array that programs read and write where it is."""
        array = np.asarray(made)
        block = Block(*byte_bounds(array), number, is_constant)
        return Traced(self, array, block, is_scalar=made is not array)

    def constant(self, given: Any) -> Any:
        """Return what stands for an array that keeps its values."""
        traced = not self.active or type(given) is Traced
        return given if traced else self.live(given, is_constant=True)

    def _new(self, made: Any) -> Any:
        """Return what stands for a new array, for which a program has to find memory."""
        if made.dtype.hasobject:
            raise RejectedError("makes an array of objects")
        low, high = byte_bounds(np.asarray(made))
        self._sizes.append(high - low)
        return self.live(made, len(self._sizes) - 1)

    def refuse(self, reason: str) -> None:
        """Follow no further, for this reason."""
        if self.active:
            self.refusal, self.active = reason, False

    def finish(self, results: Sequence[Any]) -> Plan | None:
        """Follow no further; return a plan for programs that leave `results`, or None if refused.

        Each result is C-contiguous and alone in its block, copied there if need be.
        """
        left: list[Any] = []
        for each in results if self.active else ():
            block: Any = each._block if type(each) is Traced else Block(0, 0)
            alone = block.number is not None and all(block is not other._block for other in left)
            whole = alone and self._sizes[block.number] == each.nbytes and each.flags.c_contiguous
            left.append(each if whole else self._new(np.empty(each.shape, each.dtype)))
            if not whole:
                np.copyto(left[-1], each)
        if not self.active:
            return None
        self.active = False
        return Plan(self.calls, self._sizes, self._inputs, self._noted(left))

    def follow(self, call: Call, note: Callable[[Call, Any], Any] | None = None) -> Any:
        """Make a call, and note it where a program has to make it too; return the result."""
        active = [each._trace for each in _traced(call) if each._trace.active]
        if active and not self.active:  # the array that this was called for outlived its trace
            return active[0].follow(call, note)
        made = call.function(*plain(call.arguments), **plain(call.options))
        if self.active and call.name not in FACTS:
            try:
                return (note or self._followed)(call, made)
            except RejectedError as error:
                self.refuse(f"{call.name} {error}")
        return made

    def note_run(self, call: Call, _: Any) -> None:
        """Note a call whose function writes its results into arguments, if it was given any."""
        if _traced(call) and _may_change(call):
            self._note(call)

    def _followed(self, call: Call, made: Any) -> Any:
        """Return what stands for `made`, which the call has made of plain arrays."""
        if _may_change(_deciding_shapes(call)):
            raise RejectedError("makes a shape that depends on the inputs")
        self._noted([call.arguments, call.options])  # raises if something was made elsewhere
        traced, several = _traced(call), isinstance(made, tuple | list)
        results = made if several else [] if made is None else [made]
        if not all(isinstance(each, np.ndarray | np.generic) for each in results):
            raise RejectedError("has a result that is not an array")
        found = [view for each in results if (view := _view(each, traced)) is not None]
        if found and len(found) < len(results):
            raise RejectedError("makes some of its results")
        if made is None or call.options.get("out") is not None or (found and call.name == "ipow"):
            if not all(map(_may_change, found or traced[:1])):
                raise RejectedError("changes a constant")
            self._note(call)
        elif found:
            viewed = [each._block for each in found]
            if _may_change([each for each in traced if each._block not in viewed]):
                raise RejectedError("makes a view whose place depends on the inputs")
        elif several and not call.is_of_ufunc:
            raise RejectedError("makes several arrays")
        elif not (_may_change(call) or call.name in TO_BE_WRITTEN):
            found = [self.constant(each) for each in results]
        else:
            found = [self._new(each) for each in results]
            if call.name != "empty_like":
                self._note(_writing(call, found))
        return type(made)(found) if several else found[0] if found else None

    def _note(self, call: Call) -> None:
        """Note that a program is to make this call here."""
        function, arguments, options = call
        if np.geterr() != self._errors:
            raise RejectedError("is called in a np.errstate")
        out_by_name = function in (np.maximum, np.minimum)  # else they warn
        if isinstance(function, np.ufunc) and options.keys() == {"out"} and not out_by_name:
            arguments, options = (*arguments, *options["out"]), {}  # which is faster
        self.calls.append(Call(function, self._noted(arguments), self._noted(options)))

    def _noted(self, given: Any) -> Any:
        """Return what stands in a note for an argument, or for those in a tuple, list or dict."""
        return mapped(self._noted_one, given)

    def _noted_one(self, given: Any) -> Any:
        if type(given) is Traced and given._trace is self:
            array, block = given._array, given._block
            if isinstance(block, Given):
                return block
            if block.number is None:
                return array
            offset = address(array) - block.low
            return View(block.number, offset, array.shape, array.strides, array.dtype)
        if isinstance(given, KINDS):
            what = f"{type(plain(given)).__name__} {getattr(given, 'shape', '')}".strip()
            raise RejectedError(f"reads {what}, which was made elsewhere")
        return given


def _traced(given: Any) -> list[Traced]:
    return [each for each in leaves(given) if type(each) is Traced]


def _may_change(given: Any) -> bool:
    """Whether there is an array, a scalar or a generator in `given` that is not a constant."""
    return any(isinstance(each, KINDS) and not _is_constant(each) for each in leaves(given))


def _is_constant(given: Any) -> bool:
    return type(given) is Traced and getattr(given._block, "is_constant", False)


def _deciding_shapes(call: Call) -> list[Any]:
    """The arguments and options that decide on the shapes of a call's results."""
    if call.is_of_ufunc:
        return [call.options[each] for each in call.options.keys() - {"out", "where", "initial"}]
    if call.name not in FOLLOWED:
        raise RejectedError("cannot be followed")
    if call.name == "getitem":
        return [each for each in _traced(call.arguments[1]) if each.dtype == bool]
    options = [call.options[each] for each in call.options.keys() - {"out"}]
    return [*call.arguments[FOLLOWED[call.name] :], *options]


def _view(made: Any, traced: list[Traced]) -> Traced | None:
    """What stands for a view of some traced array; None for a new array."""
    for each in traced:
        if isinstance(made, np.ndarray) and _is_within(made, each._block):
            return Traced(each._trace, made, each._block)
    return None


def _is_within(array: Array, block: Block | Given) -> bool:
    low, high = byte_bounds(array)
    return isinstance(block, Block) and block.low <= low and high <= block.high


def _writing(call: Call, results: list[Any]) -> Call:
    """The call that writes into `results` what `call` would make."""
    function, arguments, options = call
    if call.is_of_ufunc:
        return Call(function, arguments, options | {"out": tuple(results)})
    if call.name in TAKE_OUT:
        return Call(function, arguments, options | {"out": results[0]})
    return Call(_store, (results[0], function, arguments, options), {})


def _store(out: Array, function: Callable[..., Any], arguments: Any, options: Any) -> None:
    """Write function(*arguments, **options) into `out`."""
    out[...] = function(*arguments, **options)
