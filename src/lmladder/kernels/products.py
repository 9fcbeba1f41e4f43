"""Products of float32 matrices, with the same bits on every machine.

An element of C = A B + bias is defined by the order of its additions. The terms over k are divided
into parts of PART; the sum of a part is a chain of fused multiply-adds, each rounded once:

    total = 0
    for k in part:
        total = fma(A[i, k], B[k, j], total)

C[i, j] is the sum of the parts, in order, plus bias[j]. `reference.multiply` computes the same in
plain NumPy, slowly.

The method is that of Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
A tile of C stays in registers while vectors of rows of B are multiplied by single elements of A.
Panels of columns of B are copied so that they are read sequentially, unless B is small. The shape
of a tile depends on the registers of the machine. Tiles, blocks and copies do not change the order
above, because each element of C has its own lane.
"""

from functools import partial
from itertools import chain

from lmladder.kernels.compiling import TILE, compile_cached
from lmladder.kernels.lanes import FLOAT, INT, call, first_elements, load_chosen, spread

import numpy as np
from llvmlite import ir
from numba import float32, int64, njit, void
from numba.core import cgutils
from numba.extending import intrinsic
from numba.types import Array

PART = 256  # terms that a product adds in a chain
ROWS, VECTORS, LANES = TILE
COLUMNS = VECTORS * LANES
SHORT_ROWS = ROWS - 1  # of a tile, if ROWS does not divide the number of rows
BLOCK_ROWS = 96  # rows of A that stay in the second-level cache, of PART elements each
BLOCK_COLUMNS = 1024 // COLUMNS * COLUMNS
IN_CACHE = 8192  # elements of a B that fits into the first-level cache without a copy
STRIP = 16  # rows of B that are copied together, for all panels
BYTES = 4  # of an element

SIZE = ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)

jitted = partial(njit, nogil=True, error_model="numpy")


# ------------------------------------------------------------------------------- vectors in memory


def _pointer(builder, address, offset, kind):
    """The address plus `offset` elements, as a pointer."""
    place = builder.add(address, builder.mul(offset, SIZE(BYTES)))
    return builder.inttoptr(place, kind.as_pointer())


def _load(builder, address, offset, kind):
    value = builder.load(_pointer(builder, address, offset, kind))
    value.align = BYTES
    return value


def _store(builder, value, address, offset):
    builder.store(value, _pointer(builder, address, offset, value.type)).align = BYTES


@intrinsic
def _copy_columns(typing, source, target):
    """Copy COLUMNS elements from one address to another."""

    def code(context, builder, signature, arguments):
        value = _load(builder, arguments[0], SIZE(0), ir.VectorType(FLOAT, COLUMNS))
        _store(builder, value, arguments[1], SIZE(0))
        return context.get_dummy_value()

    return void(int64, int64), code


@intrinsic
def _transpose(typing, source, stride, target, target_stride):
    """Copy LANES x LANES elements, transposed; strides in elements."""

    def code(context, builder, signature, arguments):
        source, stride, target, target_stride = arguments
        rows = [_load(builder, source, builder.mul(stride, SIZE(i)), VECTOR) for i in range(LANES)]
        half = LANES // 2
        order = [x for i in range(LANES) for x in (i, LANES + i)]
        low, high = (ir.VectorType(INT, LANES)(each) for each in (order[:LANES], order[LANES:]))
        for _ in range(LANES.bit_length() - 1):  # interleave row i with row i + half
            rows = [
                builder.shuffle_vector(rows[i], rows[i + half], mask)
                for i in range(half)
                for mask in (low, high)
            ]
        for i, row in enumerate(rows):
            _store(builder, row, target, builder.mul(target_stride, SIZE(i)))
        return context.get_dummy_value()

    return void(int64, int64, int64, int64), code


# ------------------------------------------------------------------------------- tiles


class _Columns:
    """The columns of a tile in memory: vectors, of which the last ones may be incomplete.

    Parameters
    ----------
    vectors : the most in a row
    width : number of columns
    """

    def __init__(self, builder, vectors, width):
        self.builder = builder
        self.is_full = builder.icmp_signed("==", width, SIZE(vectors * LANES))
        starts = range(0, vectors * LANES, LANES)
        self.exist = [first_elements(builder, width, LANES, start) for start in starts]

    def load(self, address, v):
        """Vector v of the row at an address; 0 in the columns that do not exist."""
        place = _pointer(self.builder, address, SIZE(v * LANES), VECTOR)
        return load_chosen(self.builder, place, self.exist[v], VECTOR([0.0] * LANES))

    def store(self, value, address, v):
        """Write vector v of the row at an address."""
        with self.builder.if_else(self.is_full) as (full, incomplete):
            with full:
                _store(self.builder, value, address, SIZE(v * LANES))
            with incomplete:
                place = _pointer(self.builder, address, SIZE(v * LANES), VECTOR)
                name = f"llvm.masked.store.v{LANES}f32.p0"
                arguments = value, place, INT(BYTES), self.exist[v]
                call(self.builder, name, ir.VoidType(), *arguments)


def _tile(rows, vectors):
    """Return the function that computes a part of a tile of C.

    Its arguments are integers: addresses, and strides in elements.

    Parameters
    ----------
    depth : number of terms
    a, a_row, a_k : the first element of A, its stride from row to row, and from term to term
    b, b_k : the first element of B, and its stride from term to term; columns are contiguous
    c, c_row : the first element of C, and its stride from row to row
    height, width : of the tile, at most `rows` and `vectors` * LANES
    is_first : whether this is the first part, to which no other is added
    bias : address of what is added at the end, or 0
    """

    @intrinsic
    def tile(typing, depth, a, a_row, a_k, b, b_k, c, c_row, height, width, is_first, bias):
        def code(context, builder, signature, arguments):
            depth, a, a_row, a_k, b, b_k, c, c_row, height, width, is_first, bias = arguments
            columns = _Columns(builder, vectors, width)
            exists = [builder.icmp_signed(">", height, SIZE(r)) for r in range(rows)]
            # rows that do not exist are computed from the first one, and not stored
            row_of_a = [
                builder.add(a, builder.mul(builder.select(found, SIZE(r * BYTES), SIZE(0)), a_row))
                for r, found in enumerate(exists)
            ]
            sums = [[cgutils.alloca_once(builder, VECTOR) for _ in range(vectors)] for _ in exists]
            for total in chain(*sums):
                builder.store(VECTOR([0.0] * LANES), total)
            fma = f"llvm.fma.v{LANES}f32"
            with cgutils.for_range(builder, depth) as loop:
                from_a, from_b = builder.mul(loop.index, a_k), builder.mul(loop.index, b_k)
                row_of_b = [
                    _load(builder, b, builder.add(from_b, SIZE(v * LANES)), VECTOR)
                    for v in range(vectors)
                ]
                for row, totals in zip(row_of_a, sums, strict=True):
                    factor = spread(builder, _load(builder, row, from_a, FLOAT), LANES)
                    for vector, total in zip(row_of_b, totals, strict=True):
                        new = call(builder, fma, VECTOR, factor, vector, builder.load(total))
                        builder.store(new, total)
            for r, totals in enumerate(sums):
                with builder.if_then(exists[r]):
                    row = builder.add(c, builder.mul(c_row, SIZE(r * BYTES)))
                    for v, total in enumerate(totals):
                        with builder.if_then(builder.icmp_signed("==", is_first, SIZE(0))):
                            before = columns.load(row, v)
                            builder.store(builder.fadd(before, builder.load(total)), total)
                        with builder.if_then(builder.icmp_signed("!=", bias, SIZE(0))):
                            added = columns.load(bias, v)
                            builder.store(builder.fadd(builder.load(total), added), total)
                        columns.store(builder.load(total), row, v)
            return context.get_dummy_value()

        return void(*[int64] * 12), code

    @jitted
    def compute(depth, a, a_row, a_k, b, b_k, c, c_row, height, width, is_first, bias):
        tile(depth, a, a_row, a_k, b, b_k, c, c_row, height, width, is_first, bias)

    return compute


_full, _short, _narrow = _tile(ROWS, VECTORS), _tile(SHORT_ROWS, VECTORS), _tile(ROWS, 1)


# ------------------------------------------------------------------------------- copies


@jitted
def _copy(b, first, last, out):
    """Copy columns `first` to `last` of B to panels of COLUMNS; the last may have fewer."""
    depth = len(b)
    by_row, by_column = b.strides[0] // BYTES, b.strides[1] // BYTES
    for start in range(0, depth, STRIP):
        stop = min(depth, start + STRIP)
        for j in range(first, last, COLUMNS):
            width = min(COLUMNS, last - j)
            panel, done = (j - first) * depth, start
            source, target = b.ctypes.data + j * b.strides[1], out.ctypes.data + BYTES * panel
            if width == COLUMNS and by_column == 1:
                done = stop
                for k in range(start, stop):
                    _copy_columns(source + BYTES * k * by_row, target + BYTES * k * COLUMNS)
            elif width == COLUMNS and by_row == 1:
                done = stop - (stop - start) % LANES
                for k in range(start, done, LANES):
                    for v in range(0, COLUMNS, LANES):
                        to = target + BYTES * (k * COLUMNS + v)
                        _transpose(source + BYTES * (k + v * by_column), by_column, to, COLUMNS)
            for k in range(done, stop):
                for column in range(width):
                    out[panel + k * COLUMNS + column] = b[k, j + column]
                for column in range(width, COLUMNS):  # read, but not used
                    out[panel + k * COLUMNS + column] = float32(0)


# ------------------------------------------------------------------------------- products


@jitted
def _multiply_part(a, b, c, bias, is_first, in_place, panels):
    """Compute one part of the terms of C, or add it to C if it is not the first; then the bias.

    Parameters
    ----------
    bias : address of a bias, or 0
    in_place : whether all panels of B but an incomplete one are read where they are
    panels : memory for the others
    """
    depth, n = b.shape
    for start in range(0, n, BLOCK_COLUMNS):
        end = min(n, start + BLOCK_COLUMNS)
        copied = max(start, n - n % COLUMNS) if in_place else start  # the first column in panels
        _copy(b, copied, end, panels)
        for first in range(0, len(a), BLOCK_ROWS):
            last = min(len(a), first + BLOCK_ROWS)
            for j in range(start, end, COLUMNS):
                width = min(COLUMNS, n - j)
                from_b, b_k = b.ctypes.data + BYTES * j, b.strides[0] // BYTES
                if j >= copied:
                    from_b, b_k = panels.ctypes.data + BYTES * (j - copied) * depth, COLUMNS
                i = first
                while i < last:
                    left = last - i
                    rows = ROWS if left % ROWS == 0 or width <= LANES else SHORT_ROWS
                    from_a = a.ctypes.data + i * a.strides[0]
                    a_row, a_k = a.strides[0] // BYTES, a.strides[1] // BYTES
                    operands = depth, from_a, a_row, a_k, from_b, b_k
                    to_c = c.ctypes.data + i * c.strides[0] + BYTES * j
                    added = bias + BYTES * j if bias else 0
                    result = to_c, c.strides[0] // BYTES, min(left, rows), width, is_first, added
                    if width <= LANES:
                        _narrow(*operands, *result)
                    elif rows == SHORT_ROWS:
                        _short(*operands, *result)
                    else:
                        _full(*operands, *result)
                    i += rows


@jitted
def _reads_in_place(b, rows):
    """Return whether B is not copied: A has few rows, or B fits into the first-level cache."""
    return b.strides[1] == BYTES and (b.size <= IN_CACHE or rows <= 3 * ROWS)


@jitted
def _panels(b, rows):
    """Return memory for the panels of B: (k, n), which are multiplied by some rows of A."""
    depth, n = b.shape
    columns = n % COLUMNS if _reads_in_place(b, rows) else min(n, BLOCK_COLUMNS)
    return np.empty(-(-columns // COLUMNS) * COLUMNS * min(depth, PART), np.float32)


@jitted
def _multiply(a, b, c, bias, panels):
    depth, in_place = len(b), _reads_in_place(b, len(a))
    for start in range(0, max(1, depth), PART):  # without terms, C is the bias, or 0
        end = min(depth, start + PART)
        added = bias.ctypes.data if bias.size and end == depth else 0
        operands = a[:, start:end], b[start:end]
        _multiply_part(*operands, c, added, int64(start == 0), in_place, panels)


def _multiply_two_axes(a, b, c, bias):
    _multiply(a, b, c, bias, _panels(b, len(a)))


def _multiply_four_axes(a, b, c, bias):
    if c.size:
        panels = _panels(b[0, 0], a.shape[2])
        for x in range(a.shape[0]):
            for y in range(a.shape[1]):
                _multiply(a[x, y], b[x, y], c[x, y], bias, panels)


def _compile(function, axes):
    read, write = Array(float32, axes, "A", readonly=True), Array(float32, axes, "A")
    signature = void(read, read, write, Array(float32, 1, "C", readonly=True))
    return compile_cached(signature, function, nogil=True, error_model="numpy")


_two_axes, _four_axes = _compile(_multiply_two_axes, 2), _compile(_multiply_four_axes, 4)
_NO_BIAS = np.empty(0, np.float32)


def multiply(a, b, out, bias=None):
    """Compute `reference.multiply` of float32 arrays, of any layout."""
    added = _NO_BIAS if bias is None else bias
    if out.size and out.strides[-1] != BYTES:
        whole = np.empty(out.shape, np.float32)
        multiply(a, b, whole, bias)
        out[...] = whole
    elif out.ndim == 2:
        _two_axes(a, b, out, added)
    elif out.ndim > 4:
        lead = out.shape[:-2]
        a, b = (np.broadcast_to(each, (*lead, *each.shape[-2:])) for each in (a, b))
        for each in zip(a, b, out, strict=True):
            multiply(*each, bias)
    else:
        _four_axes(*(_with_leading_axes(each, out) for each in (a, b, out)), added)


def _with_leading_axes(array, out):
    """View the array with the leading axes of `out`, of which there are at most two, as two."""
    lead = out.shape[:-2]
    if array.shape[:-2] != lead:
        array = np.broadcast_to(array, (*lead, *array.shape[-2:]))
    return array[(None,) * (4 - array.ndim)]
