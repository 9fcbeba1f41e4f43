"""A Numba type of 16 float32 values, and elementary functions of it and of float32.

With it, the source of a kernel defines the order of every floating-point operation: lane l of a sum
over a row adds elements l, l + 16, l + 32, ... in order, and `total` adds the lanes in a fixed
order. The compiler may not reorder or fuse operations, and divides 16 lanes among the vector
registers of a processor: one with AVX-512, two with AVX2, four with NEON. The bits of a result are
the same on all of them.

A function of this module accepts lanes and float32 values, unless stated otherwise. The same
function serves sums in lanes and elementwise loops, which the compiler vectorizes.
"""

import operator
from functools import partial

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic, lower_cast, models, overload, register_model
from numba.types import Float, Number, Type, float32, int64, void

WIDTH = 16
EXP_MAX, EXP_MIN = np.float32(88.722839), np.float32(-87.3)  # exp is infinite above, 0 below
LEAST, INFINITY, NAN = np.finfo(np.float32).tiny, np.float32(np.inf), np.float32(np.nan)
ROOT_HALF = 0x3F3504F3  # the bits of sqrt(1 / 2)
SHIFT = np.float32(1.5 * 2**23)  # SHIFT + n has the integer n in its lowest bits
FLOAT, INT = ir.FloatType(), ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, WIDTH)

# Coefficients of polynomials, from the highest power down.
_EXP = 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
EXP, LOG = tuple(map(np.float32, _EXP)), tuple(map(np.float32, _LOG))


def inlined(function):
    """Compile a function for use in kernels; its operations keep their order."""
    return njit(forceinline=True, error_model="numpy")(function)


class Lanes(Type):
    """The type of 16 float32 values."""


LANES = Lanes(name="Lanes")
register_model(Lanes)(partial(models.PrimitiveModel, be_type=VECTOR))


# ------------------------------------------------------------------------------- operations


def call(builder, name, result, *arguments):
    """Call an intrinsic function of LLVM with a result of this type."""
    kind = ir.FunctionType(result, [each.type for each in arguments])
    return builder.call(builder.module.declare_intrinsic(name, (), kind), arguments)


def spread(builder, value, width=WIDTH):
    """Return a vector of `width` elements that are all equal to a value."""
    one = builder.insert_element(ir.VectorType(value.type, 1)(ir.Undefined), value, INT(0))
    return _shuffle(builder, one, [0] * width)


def first_elements(builder, count, width=WIDTH, start=0):
    """Return which of the `width` elements from `start` on are among the first `count`."""
    indices = ir.VectorType(INT, width)(list(range(start, start + width)))
    return builder.icmp_signed("<", indices, spread(builder, builder.trunc(count, INT), width))


def load_chosen(builder, pointer, chosen, fill):
    """Load the chosen elements of a vector in memory; the others are those of `fill`."""
    name = f"llvm.masked.load.v{fill.type.count}f32.p0"
    return call(builder, name, fill.type, pointer, INT(4), chosen, fill)


def _shuffle(builder, vector, lanes):
    """Return the elements of a vector at the positions `lanes`."""
    mask = ir.VectorType(INT, len(lanes))(list(lanes))
    return builder.shuffle_vector(vector, vector.type(ir.Undefined), mask)


def _halves(builder, vector):
    half = vector.type.count // 2
    return [_shuffle(builder, vector, range(start, start + half)) for start in (0, half)]


@lower_cast(Number, Lanes)
def _number_to_lanes(context, builder, from_type, to_type, number):
    return spread(builder, context.cast(builder, number, from_type, float32))


def _elementwise(generate, *arguments):
    """Return the type and the code of a function of lanes, or of float32 if no argument is lanes.

    The instructions of generate(builder, *arguments) are the same for both.
    """
    kind = LANES if LANES in arguments else float32

    def code(context, builder, signature, values):
        return generate(builder, *values)

    return kind(*[kind] * len(arguments)), code


def _overload_operator(function, instruction):
    @intrinsic
    def compute(typing, a, b):
        return _elementwise(lambda builder, x, y: getattr(builder, instruction)(x, y), a, b)

    @overload(function)
    def choose(a, b):
        if LANES in (a, b) and all(kind == LANES or isinstance(kind, Float) for kind in (a, b)):
            return lambda a, b: compute(a, b)
        return None


_overload_operator(operator.add, "fadd")
_overload_operator(operator.sub, "fsub")
_overload_operator(operator.mul, "fmul")
_overload_operator(operator.truediv, "fdiv")


@intrinsic
def fma(typing, a, b, c):
    """a * b + c, rounded once."""

    def generate(builder, *values):
        kind = values[0].type
        name = "llvm.fma.f32" if kind == FLOAT else f"llvm.fma.v{WIDTH}f32"
        return call(builder, name, kind, *values)

    return _elementwise(generate, a, b, c)


@intrinsic
def where_less(typing, x, limit, a, b):
    """a where x < limit, else b, also where x is NaN."""

    def generate(builder, x, limit, a, b):
        return builder.select(builder.fcmp_ordered("<", x, limit), a, b)

    return _elementwise(generate, x, limit, a, b)


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def larger(typing, a, b):
    """a where a > b, else b, also where either is NaN."""
    return _elementwise(_larger, a, b)


# ------------------------------------------------------------------------------- bits of a float32


def _bits(builder, x):
    """Return the bits of values as integers, and a function that makes constants like them."""
    if x.type == FLOAT:
        return builder.bitcast(x, INT), INT
    integers = ir.VectorType(INT, WIDTH)
    return builder.bitcast(x, integers), lambda value: integers([value] * WIDTH)


@intrinsic
def _scale(typing, x, shifted):
    """x * 2 ** n for shifted = SHIFT + n, if that is not subnormal."""

    def generate(builder, x, shifted):
        (bits, constant), (n, _) = _bits(builder, x), _bits(builder, shifted)
        bits = builder.add(bits, builder.shl(n, constant(23)))
        return builder.bitcast(bits, x.type)

    return _elementwise(generate, x, shifted)


@intrinsic
def _exponent(typing, x):
    """The n of x = m * 2 ** n with sqrt(1 / 2) <= m < sqrt(2), for normal x > 0."""

    def generate(builder, x):
        bits, constant = _bits(builder, x)
        n = builder.ashr(builder.sub(bits, constant(ROOT_HALF)), constant(23))
        return builder.sitofp(n, x.type)

    return _elementwise(generate, x)


# ------------------------------------------------------------------------------- rows


def _pointer(context, builder, row_type, row, j, kind=VECTOR):
    data = context.make_array(row_type)(context, builder, row).data
    return builder.bitcast(builder.gep(data, [j]), kind.as_pointer())


@intrinsic
def _load_all(typing, row, j):
    def code(context, builder, signature, values):
        return builder.load(_pointer(context, builder, row, *values), align=4)

    return LANES(row, int64), code


@intrinsic
def _load_first(typing, row, j, count, fill):
    def code(context, builder, signature, values):
        array, j, count, fill = values
        pointer = _pointer(context, builder, row, array, j)
        return load_chosen(builder, pointer, first_elements(builder, count), fill)

    return LANES(row, int64, int64, LANES), code


@intrinsic
def _store_all(typing, row, j, value):
    def code(context, builder, signature, values):
        array, j, value = values
        builder.store(value, _pointer(context, builder, row, array, j), align=4)

    return void(row, int64, LANES), code


@intrinsic
def _store_first(typing, row, j, count, value):
    def code(context, builder, signature, values):
        array, j, count, rest = values
        while rest.type.count > 1:  # stores half of the rest, if the count has this bit
            low, high = _halves(builder, rest)
            size = count.type(low.type.count)
            chosen = builder.icmp_signed("!=", builder.and_(count, size), count.type(0))
            with builder.if_then(chosen):
                builder.store(low, _pointer(context, builder, row, array, j, low.type), align=4)
            j = builder.select(chosen, builder.add(j, size), j)
            rest = builder.select(chosen, high, low)

    return void(row, int64, int64, LANES), code


@inlined
def load(row, j, n, fill):
    """The elements j to j + 15 of a row (float32, C-contiguous), `fill` for those from n > j on.

    In a loop with a step of 16, the compiler tests the first condition once, before the loop.
    """
    if (n - j) & (WIDTH - 1) == 0 or j + WIDTH <= n:
        return _load_all(row, j)
    return _load_first(row, j, n - j, fill)


@inlined
def store(row, j, n, value):
    """Write lanes to the elements j to j + 15 of a row, but not to those from n > j on."""
    if (n - j) & (WIDTH - 1) == 0 or j + WIDTH <= n:
        _store_all(row, j, value)
    else:
        _store_first(row, j, n - j, value)


@intrinsic
def repeat(typing, number):
    """Lanes that are all equal to a number."""
    return LANES(LANES), lambda context, builder, signature, values: values[0]


def _combine(combine, lanes):
    """Return the code that combines lane i with i + 8, then i with i + 4, + 2 and + 1."""

    def code(context, builder, signature, values):
        (value,) = values
        while value.type.count > 1:
            value = combine(builder, *_halves(builder, value))
        return builder.extract_element(value, INT(0))

    return float32(lanes), code


@intrinsic
def total(typing, lanes):
    """The sum of all lanes."""
    return _combine(lambda builder, a, b: builder.fadd(a, b), lanes)


@intrinsic
def largest(typing, lanes):
    """The largest of all lanes; if one is NaN, any of them."""
    return _combine(_larger, lanes)


# ------------------------------------------------------------------------------- functions


@inlined
def polynomial(x, coefficients):
    """The value of a polynomial, coefficients from the highest power down."""
    value = fma(x, coefficients[0], coefficients[1])
    for each in coefficients[2:]:
        value = fma(value, x, each)
    return value


@inlined
def exp(x):
    """e ** x with an error of 2 units in the last place; 0 below -87.3.

    With n = round(x / log 2), this is 2 ** n times a polynomial in x - n log 2 (Cephes, expf.c).
    Adding SHIFT rounds to an integer.
    """
    shifted = fma(x, float32(1.44269504), SHIFT)
    n = shifted - SHIFT
    r = fma(n, float32(2.12194440e-4), fma(n, float32(-0.693359375), x))
    p = fma(polynomial(r, EXP), r * r, r) + float32(1)
    value = where_less(x, EXP_MAX, _scale(p, shifted), x + INFINITY)  # NaN stays
    return where_less(x, EXP_MIN, float32(0), value)


@inlined
def log(x):
    """The natural logarithm with an error of 2 units in the last place (Cephes, logf.c)."""
    normal = where_less(x, LEAST, x * float32(8388608.0), x)
    n = _exponent(normal)
    r = _scale(normal, SHIFT - n) - float32(1)
    n = n - where_less(x, LEAST, float32(23), float32(0))
    square = r * r
    p = fma(polynomial(r, LOG) * square, r, n * float32(-2.12194440e-4))
    value = fma(n, float32(0.693359375), fma(square, float32(-0.5), p) + r)
    value = where_less(x, INFINITY, value, x)
    return where_less(float32(0), x, value, where_less(x, float32(0), NAN, x - INFINITY))


@inlined
def log1p(x):
    """log(1 + x) for 0 <= x <= 1, also precise for small x (Higham 2002, section 1.14.1)."""
    above = x + float32(1)
    rounded = above - float32(1)
    return where_less(float32(0), rounded, log(above) * (x / rounded), x)


@inlined
def softplus(x):
    """log(1 + e ** x)."""
    return larger(x, float32(0)) + log1p(exp(where_less(float32(0), x, float32(0) - x, x)))


@inlined
def sigmoid(x):
    """1 / (1 + e ** -x)."""
    return float32(1) / (exp(float32(0) - x) + float32(1))
