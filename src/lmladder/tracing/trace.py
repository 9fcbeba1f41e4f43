"""Recording what a function does with arrays, so that a program can repeat it.

While a `Trace` records a function, `Traced` objects represent its arrays. They implement NumPy's
protocols for array-like objects (NEP 13 and NEP 18): each ufunc, function or method that is called
with one reaches the trace, which calls it with the plain arrays and records the call. An ndarray
subclass would do so too, but C code such as `np.asarray` reads its memory without notice. A
`Traced` is asked for its values, by `__array__` or `__float__`, so the trace detects this.

What a program could not repeat ends the trace, and `untraceable_reason` names it: an array that was
made elsewhere and may change, values that leave NumPy, results whose shape or position depends on
values. The function continues with plain arrays, so its result is correct in any case.
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

KINDS = np.ndarray | np.generic | np.random.Generator  # what a Traced may represent
# Attributes of an array that do not depend on its values.
FACTS = ("dtype", "flags", "itemsize", "nbytes", "ndim", "result_type", "setflags", "shape", "size")
# Functions and methods of arrays and generators that a trace records besides ufuncs, by how many of
# their first arguments may depend on the inputs. The others, such as an axis, determine shapes.
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
HAVE_OUT = ("concatenate", "max", "min", "random", "standard_normal", "sum")  # besides ufuncs
# Operators that are not ufuncs (`pow` calls one of several), and protocols that export values.
OPERATORS = ("getitem", "setitem", "pow", "ipow")
EXPORTING = "array bool complex contains float format index int reduce_ex repr str"

_current: ContextVar["Trace | None"] = ContextVar("trace", default=None)


def run(function: Callable[..., object], *arguments: Any) -> None:
    """Call a function that NumPy does not dispatch, such as a compiled one, with plain arrays.

    The function must write its results into arrays among its arguments, and depend on these only.
    """
    if (trace := _current.get()) is None:
        function(*arguments)
    else:
        trace.follow(Call(function, arguments, {}), trace.record_run)


def constant(array: Array) -> Array:
    """Return the array, declared as one whose values do not change."""
    trace = _current.get()
    return array if trace is None else trace.constant(array)


def asarray(given: Any) -> Array:
    """Return np.asarray(given); a traced array stays traced, and Python numbers are constants."""
    given = current(given)
    if type(given) is Traced:
        return Traced(given._trace, given._array, given._block)  # type: ignore[return-value]
    array = np.asarray(given)
    return array if _current.get() is None or _may_change(given) else constant(array)


def current(given: Any) -> Any:
    """Return `given`; if its trace has ended, the array that it represents."""
    return plain(given) if type(given) is Traced and not given._trace.active else given


def plain(given: Any) -> Any:
    """Return `given` with each Traced replaced by what it represents."""
    return mapped(lambda each: each._plain if type(each) is Traced else each, given)


@dataclass(frozen=True, slots=True)
class Block:
    """The memory of an array and of its views.

    Attributes
    ----------
    low, high : the addresses of its begin and end
    number : its number in a plan; None if programs use the array itself
    is_constant : whether its values do not change
    """

    low: int
    high: int
    number: int | None = None
    is_constant: bool = False


class RejectedError(Exception):
    """A program could not repeat a call; the message, after the name of the call, is the reason."""


class Traced(NDArrayOperatorsMixin):
    """Represents an array, a NumPy scalar or a generator, also for `isinstance`."""

    __slots__ = ("_array", "_block", "_plain", "_trace")

    def __init__(self, trace: "Trace", array: Any, block: Any, is_scalar: bool = False):
        self._trace, self._array, self._block = trace, array, block
        self._plain = array[()] if is_scalar else array

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._plain)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(each, np.generic) for each in options.get("out", ())):
            del options["out"]  # a += b creates another scalar
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return self._trace.follow(Call(function, inputs, options))

    def __array_function__(self, function: Any, _: Any, arguments: Any, options: Any) -> Any:
        return self._trace.follow(Call(function, arguments, options))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # a protocol that this class does not implement
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


def _exporting(name: str) -> Callable[..., Any]:
    """Return a method of `Traced` that exports values to code that cannot be traced."""

    def export(self: Traced, *arguments: Any, **options: Any) -> Any:
        self._trace.refuse(f"{name} of what depends on the inputs")
        return getattr(self._array, name)(*arguments, **options)

    return export


for _name in OPERATORS:
    setattr(Traced, f"__{_name}__", _following(_name))
for _name in EXPORTING.split():
    setattr(Traced, f"__{_name}__", _exporting(f"__{_name}__"))


class Trace:
    """Records the calls on arrays in the context `with trace.on():`.

    Attributes
    ----------
    untraceable_reason : why no program can repeat the calls; None if one can
    active : whether calls are still recorded
    calls : the recorded calls
    """

    def __init__(self) -> None:
        self.untraceable_reason: str | None = None
        self.active = True
        self.calls: list[Call] = []
        self._sizes: list[int] = []  # of the blocks that a plan allocates
        self._inputs: list[Any] = []  # as recorded

    @contextmanager
    def on(self) -> Iterator[None]:
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def input(self, given: Any) -> Any:
        """Return a Traced for an array or a generator that differs from call to call.

        None, a Python number or a string is returned as it is: it must be the same in each call.
        """
        kind, traced = type(given), given
        if isinstance(given, np.random.Generator):
            traced = Traced(self, given, Given(len(self._inputs)))
        elif isinstance(given, np.generic) or (kind is np.ndarray and not given.dtype.hasobject):
            traced = self._new(given.copy())
        elif not isinstance(given, int | float | str | None):
            self.refuse(f"an input of type {kind.__name__}")
        self._inputs.append(self._recorded(traced) if traced is not given else None)
        return traced

    def live(self, made: Any, number: int | None = None, is_constant: bool = False) -> Any:
        """Return a Traced for an array that programs read and write in place."""
        array = np.asarray(made)
        block = Block(*byte_bounds(array), number, is_constant)
        return Traced(self, array, block, is_scalar=made is not array)

    def constant(self, given: Any) -> Any:
        """Return a Traced for an array whose values do not change."""
        traced = not self.active or type(given) is Traced
        return given if traced else self.live(given, is_constant=True)

    def _new(self, made: Any) -> Any:
        """Return a Traced for a new array, for which a plan allocates memory."""
        if made.dtype.hasobject:
            raise RejectedError("makes an array of objects")
        low, high = byte_bounds(np.asarray(made))
        self._sizes.append(high - low)
        return self.live(made, len(self._sizes) - 1)

    def refuse(self, reason: str) -> None:
        """End the recording, for this reason."""
        if self.active:
            self.untraceable_reason, self.active = reason, False

    def finish(self, results: Sequence[Any]) -> Plan | None:
        """End the recording; return a plan for programs that compute `results`, or None if refused.

        Each result is C-contiguous and has its own block, into which it is copied if necessary.
        """
        found: list[Any] = []
        for each in results if self.active else ():
            block: Any = each._block if type(each) is Traced else Block(0, 0)
            alone = block.number is not None and all(block is not other._block for other in found)
            whole = alone and self._sizes[block.number] == each.nbytes and each.flags.c_contiguous
            found.append(each if whole else self._new(np.empty(each.shape, each.dtype)))
            if not whole:
                np.copyto(found[-1], each)
        if not self.active:
            return None
        self.active = False
        return Plan(self.calls, self._sizes, self._inputs, self._recorded(found))

    def follow(self, call: Call, record: Callable[[Call, Any], Any] | None = None) -> Any:
        """Make a call, record it if a program must make it too, and return the result."""
        active = [each._trace for each in _traced(call) if each._trace.active]
        if active and not self.active:  # the array outlived the trace that it was called on
            return active[0].follow(call, record)
        made = call.function(*plain(call.arguments), **plain(call.options))
        if self.active and call.name not in FACTS:
            try:
                return (record or self._followed)(call, made)
            except RejectedError as error:
                self.refuse(f"{call.name} {error}")
        return made

    def record_run(self, call: Call, _: Any) -> None:
        """Record a call whose function writes its results into its arguments."""
        if _traced(call) and _may_change(call):
            self._record(call)

    def _followed(self, call: Call, made: Any) -> Any:
        """Return a Traced for each result of a call with plain arrays; record the call."""
        if _may_change(_determining_shapes(call)):
            raise RejectedError("makes a shape that depends on the inputs")
        self._recorded([call.arguments, call.options])  # raises if something was made elsewhere
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
            self._record(call)
        elif found:
            viewed = [each._block for each in found]
            if _may_change([each for each in traced if each._block not in viewed]):
                raise RejectedError("makes a view whose position depends on the inputs")
        elif several and not call.is_of_ufunc:
            raise RejectedError("makes several arrays")
        elif not (_may_change(call) or call.name in TO_BE_WRITTEN):
            found = [self.constant(each) for each in results]
        else:
            found = [self._new(each) for each in results]
            if call.name != "empty_like":
                self._record(_writing(call, found))
        return type(made)(found) if several else found[0] if found else None

    def _record(self, call: Call) -> None:
        """Record that a program makes this call here."""
        function, arguments, options = call
        only_out = isinstance(function, np.ufunc) and options.keys() == {"out"}
        if only_out and function not in (np.maximum, np.minimum):  # they warn of a positional one
            arguments, options = (*arguments, *options["out"]), {}  # which is faster
        self.calls.append(Call(function, self._recorded(arguments), self._recorded(options)))

    def _recorded(self, given: Any) -> Any:
        """Return the recorded form of an argument, or of those in a tuple, list or dict."""
        return mapped(self._recorded_one, given)

    def _recorded_one(self, given: Any) -> Any:
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
    """Return whether an array, a scalar or a generator in `given` is not constant."""
    blocks = [getattr(each, "_block", None) for each in leaves(given) if isinstance(each, KINDS)]
    return not all(getattr(block, "is_constant", False) for block in blocks)


def _determining_shapes(call: Call) -> list[Any]:
    """Return the arguments and options that determine the shapes of the results of a call."""
    if call.is_of_ufunc:
        return [call.options[each] for each in call.options.keys() - {"out", "where", "initial"}]
    if call.name not in FOLLOWED:
        raise RejectedError("cannot be followed")
    if call.name == "getitem":
        return [each for each in _traced(call.arguments[1]) if each.dtype == bool]
    options = [call.options[each] for each in call.options.keys() - {"out"}]
    return [*call.arguments[FOLLOWED[call.name] :], *options]


def _view(made: Any, traced: list[Traced]) -> Traced | None:
    """Return a Traced for a view of a traced array, or None for a new array."""
    for each in traced:
        if isinstance(made, np.ndarray) and _is_within(made, each._block):
            return Traced(each._trace, made, each._block)
    return None


def _is_within(array: Array, block: Block | Given) -> bool:
    low, high = byte_bounds(array)
    return isinstance(block, Block) and block.low <= low and high <= block.high


def _writing(call: Call, results: list[Any]) -> Call:
    """Return the call that writes the results of `call` into `results`."""
    function, arguments, options = call
    if call.is_of_ufunc:
        return Call(function, arguments, options | {"out": tuple(results)})
    if call.name in HAVE_OUT:
        return Call(function, arguments, options | {"out": results[0]})
    return Call(_store, (results[0], function, arguments, options), {})


def _store(out: Array, function: Callable[..., Any], arguments: Any, options: Any) -> None:
    """Write function(*arguments, **options) into `out`."""
    out[...] = function(*arguments, **options)
