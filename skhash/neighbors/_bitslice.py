"""Counting bits of 512 codes at once: the transposed layout and the vector instructions that run on it.

**Layout.** 512 codes form a *block*. Inside a block, codes are transposed: row ``j`` of its bits holds bit ``j`` of all
512 codes, as 8 words of 64 bits, which is one vector register of AVX-512. The bytes are those of the codes, in another
order. The rows of a block are counted in *chunks* of 64 (codes of 32 bits: one chunk of 32).

**Counting.** XOR of row ``j`` with bit ``j`` of a query (all zeros or all ones) leaves a one for each code that
differs in bit ``j``. Summing those rows over ``j`` gives 512 Hamming distances. The sum is done in binary by *adders*
on whole rows, as a circuit would do it: a full adder takes three rows of weight :math:`2^w` and gives a sum row of the
same weight and a carry row of weight :math:`2^{w+1}`, five bitwise operations (two on AVX-512) for 512 additions. What
remains is one row a binary digit of the distance, the *counters*. A bound is compared with all 512 distances in one
more operation a digit.

**Chunks.** The counters of a chunk are added to those of the chunks before it. They are compared with the bound after
each chunk, because a distance only grows: a block in which every code has reached the bound is left at once.

**Tables.** The first layer of adders depends on three bits of the query only. With several queries, the sum and carry
of all 8 combinations are computed once a chunk (`fill_tables`) and looked up by each query (`count_from_tables`). The
tables of a chunk fit into the first-level cache.

The number of digits of a distance is a part of the type of the blocks (`block_shape`), so numba compiles one straight
line of instructions for each number of digits. Its cache on disk looks at the date of ``_flat_kernels.py`` only:
whoever changes this file has to touch that one.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .._rows import I32, I64, ONES, ROW_BYTES, ROW_ITEMS, ROW_WORDS, ZEROS, RowEmitter

BLOCK_CODES, BLOCK_WORDS = ROW_ITEMS, ROW_WORDS
# Bytes of the two rows, sum and carry, of one entry of a table.
ENTRY_BYTES = 2 * ROW_BYTES
# Digits of the distances of codes of 32 bits, the shortest that are compiled for.
_FEWEST_DIGITS = 6

_I16, _BYTES = ir.IntType(16), ir.IntType(8).as_pointer()
# Truth table of one step of a comparison, see `less_than`.
_LESS_STEP = 0xB2


def chunk_bits(n_digits):
    """Number of bits that are counted at once in blocks of codes whose distances have so many digits."""
    return 32 if n_digits == _FEWEST_DIGITS else 64


def padded_bits(n_bits):
    """The code length, a whole number of chunks, that codes are padded to with zeros."""
    return 32 if n_bits <= 32 else -(-n_bits // 64) * 64


def block_shape(n_bits):
    """Shape of one block of transposed codes, whose number of axes tells numba the number of digits of a distance.

    Numba compiles a function for each number of axes. (A record dtype would say the same more plainly, but numba names
    compiled functions of records by a number that differs between processes, and links the wrong one from its cache.)

    Parameters
    ----------
    n_bits : int
        Code length as `padded_bits` gives it.

    Returns
    -------
    shape : tuple of int
        ``(1, ..., 1, n_chunks, 32 or 64, 8)``, in all `n_bits` rows of 8 words.
    """
    n_digits = n_counters(n_bits)
    size = chunk_bits(n_digits)
    return (1,) * (n_digits - _FEWEST_DIGITS) + (n_bits // size, size, BLOCK_WORDS)


def n_groups(n_bits):
    """Number of groups of three bits, the last one possibly smaller."""
    return -(-n_bits // 3)


def n_counters(n_bits):
    """Number of binary digits of a distance from 0 to `n_bits`."""
    return n_bits.bit_length()


def adder_network(inputs):
    """Plan the adders that sum rows of given weights.

    Parameters
    ----------
    inputs : list of (int, str)
        Weight, as a power of two, and name of each row, in the order in which rows become available.

    Returns
    -------
    steps : list of tuples
        In order: ``("load", name)``, or ``("full", sum, carry, a, b, c)``, or ``("half", sum, carry, a, b)``.

    counters : list of str
        Names of the rows that hold the binary digits of the sum, least significant first.
    """
    steps, waiting = [], {}

    def add_row(weight, name):
        rows = waiting.setdefault(weight, [])
        rows.append(name)
        if len(rows) == 3:
            waiting[weight] = []
            combine("full", weight, rows)

    def combine(kind, weight, rows):
        number = len(steps)
        steps.append((kind, f"sum{number}", f"carry{number}", *rows))
        add_row(weight, f"sum{number}")
        add_row(weight + 1, f"carry{number}")

    for weight, name in inputs:
        # Rows are loaded just before they are added, so that few registers are needed.
        steps.append(("load", name))
        add_row(weight, name)
    weight, counters = 0, []
    while weight <= max(waiting):
        if len(waiting[weight]) == 2:
            rows, waiting[weight] = waiting[weight], []
            combine("half", weight, rows)
        counters.append(waiting[weight][0])
        weight += 1
    return steps, counters


class _Emitter(RowEmitter):
    """Adds what searching needs."""

    def n_chunks(self, array_type, array):
        """Number of chunks of a block."""
        shape = self.context.make_array(array_type)(self.context, self.builder, array).shape
        return self.builder.extract_value(shape, array_type.ndim - 3)

    def row_of_query(self, array_type, array, query, chunk):
        """Row of the lookups or flips, which have one for each query and chunk."""
        return self.builder.add(self.builder.mul(query, self.n_chunks(array_type, array)), chunk)

    def chunk(self, array_type, array, block, chunk):
        """Address of the rows of a chunk of a block."""
        row = self.row_of_query(array_type, array, block, chunk)
        return self.address(array_type, array, row, chunk_bits(digits_of_type(array_type)) * ROW_BYTES)

    def next_block(self, array_type, array, address):
        """Address one block after another."""
        n_bytes = chunk_bits(digits_of_type(array_type)) * ROW_BYTES
        return self.offset(address, self.n_chunks(array_type, array), n_bytes)

    def prefetch(self, address, row):
        """Ask for the cache line of a row, which need not exist.

        Processors fetch ahead by themselves, but not beyond a page of memory, which a chunk of 64 bits fills.
        """
        place = self.builder.inttoptr(self.builder.add(address, self.number(ROW_BYTES * row)), _BYTES)
        read, nearest_cache, data = (ir.Constant(I32, value) for value in (0, 3, 1))
        self.call("llvm.prefetch.p0i8", ir.VoidType(), place, read, nearest_cache, data)

    def less_than(self, counters, bound_address):
        """Compare all counters with a bound given as one word of 32 bits, 0 or -1, a binary digit.

        From the least significant digit on: less = digit of the bound ? (not counter or less) : (not counter and less).
        """
        less = ZEROS
        for digit, counter in enumerate(counters):
            bound = self.broadcast(bound_address, digit, I32)
            if self.has_ternary_logic:
                less = self.ternary_logic(less, counter, bound, _LESS_STEP)
            else:
                either = self.builder.or_(less, bound)
                both = self.builder.and_(less, bound)
                less = self.builder.or_(both, self.builder.and_(self.builder.not_(counter), either))
        return less

    def run(self, steps, load):
        """Emit the steps of an adder network and return the rows by name."""
        rows = {}
        for kind, *names in steps:
            if kind == "load":
                rows[names[0]] = load(names[0])
            elif kind == "full":
                rows[names[0]], rows[names[1]] = self.full_adder(*(rows[name] for name in names[2:]))
            else:
                rows[names[0]], rows[names[1]] = self.half_adder(*(rows[name] for name in names[2:]))
        return rows

    def finish(self, counters, bound_address, target_address):
        """Compare, and store the counters and the mask of codes below the bound if there are any.

        Returns one bit for each word of the mask that is not zero.
        """
        less = self.less_than(counters, bound_address)
        words = self.words_with_ones(less)
        with self.builder.if_then(self.builder.icmp_unsigned("!=", words, words.type(0)), likely=False):
            for row, values in enumerate([*counters, less]):
                self.store(values, target_address, row)
        return self.builder.zext(words, I64)


def digits_of_type(blocks_type):
    """Number of digits of a distance, from numba's type of an array of blocks."""
    return _FEWEST_DIGITS + blocks_type.ndim - 4


def _table_rows(emit, n_bits, tables_address, lookups_address):
    """Inputs of the adders behind the tables, a sum and a carry of each group of three bits, and how to load them."""
    builder = emit.builder
    inputs = []
    for group in range(n_groups(n_bits)):
        inputs += [(0, f"sum of group {group}"), (1, f"carry of group {group}")]

    def load(name):
        kind, group = name.split()[0], int(name.split()[-1])
        place = builder.zext(builder.load(emit.pointer(lookups_address, 2 * group, _I16)), I64)
        return emit.load(builder.add(tables_address, place), 1 if kind == "carry" else 0)

    return inputs, load


def _flipped_rows(emit, n_bits, rows_address, next_address, flips_address):
    """Inputs of the adders without tables, rows flipped where the query has a one, and how to load them."""

    def load(name):
        bit = int(name.split()[-1])
        row = emit.load(rows_address, bit)
        emit.prefetch(next_address, bit)
        return emit.builder.xor(row, emit.broadcast(flips_address, bit, I32))

    return [(0, f"flipped row {bit}") for bit in range(n_bits)], load


def _emit_count(emit, rows, n_digits, previous_address, bound_address, target_address):
    """Emit adders for rows, and for the counters of the chunks before if there are any, and the comparison."""
    inputs, load_row = rows
    previous = [f"previous {digit}" for digit in range(n_digits if previous_address is not None else 0)]

    def load(name):
        if name in previous:
            return emit.load(previous_address, previous.index(name))
        return load_row(name)

    steps, counters = adder_network(inputs + list(enumerate(previous)))
    values = emit.run(steps, load)
    # No distance exceeds the code length, so digits beyond its own are zeros.
    counters = [values[name] for name in counters[:n_digits]]
    counters += [ZEROS] * (n_digits - len(counters))
    return emit.finish(counters, bound_address, target_address)


@intrinsic
def fill_tables(typing_context, blocks, block, chunk, tables):
    """Compute the sum and the carry of every group of three bits of a chunk for all 8 queries there can be.

    ``fill_tables(blocks, block, chunk, tables)`` with `tables` of shape (n_groups, 8, 2, 8), dtype uint64.
    """
    n_bits = chunk_bits(digits_of_type(blocks))

    def codegen(context, builder, signature, arguments):
        emit = _Emitter(context, builder)
        source = emit.chunk(blocks, arguments[0], arguments[1], arguments[2])
        next_source = emit.next_block(blocks, arguments[0], source)
        target = emit.address(tables, arguments[3], emit.number(0))
        for group in range(n_groups(n_bits)):
            bits = range(3 * group, min(3 * group + 3, n_bits))
            rows = [emit.load(source, bit) for bit in bits] + [ZEROS] * (3 - len(bits))
            for bit in bits:
                emit.prefetch(next_source, bit)
            for query in range(8):
                flipped = [builder.xor(row, ONES) if query >> i & 1 else row for i, row in enumerate(rows)]
                total, carry = emit.full_adder(*flipped)
                emit.store(total, target, 2 * (group * 8 + query))
                emit.store(carry, target, 2 * (group * 8 + query) + 1)
        return context.get_dummy_value()

    return types.void(blocks, types.int64, types.int64, tables), codegen


@intrinsic
def count_from_tables(typing_context, blocks, tables, lookups, query, chunk, bounds, counters, source, target):
    """Count a chunk with its tables, add the counters of the chunks before, and compare with the bound of a query.

    ``count_from_tables(blocks, tables, lookups, query, chunk, bounds, counters, source, target)`` computes the mask of
    the codes whose distance is still below the bound and returns which of its 8 words are not zero, one bit each. Only
    if there are any does it fill ``counters[target]`` with the counters and the mask. The counters of the chunks before
    are in ``counters[source]``.
    """
    n_digits = digits_of_type(blocks)
    n_bits = chunk_bits(n_digits)

    def codegen(context, builder, signature, arguments):
        _, tables_value, lookups_value, query, chunk, *rest = arguments
        emit = _Emitter(context, builder)
        tables_address = emit.address(tables, tables_value, emit.number(0))
        row = emit.row_of_query(blocks, arguments[0], query, chunk)
        lookups_address = emit.address(lookups, lookups_value, row, 2 * n_groups(n_bits))
        rows = _table_rows(emit, n_bits, tables_address, lookups_address)
        return _emit_chunk(emit, rows, n_digits, query, chunk, (bounds, counters), rest)

    return types.uint64(
        blocks, tables, lookups, types.int64, types.int64, bounds, counters, types.int64, types.int64
    ), codegen


@intrinsic
def count_by_xor(typing_context, blocks, block, flips, query, chunk, bounds, counters, source, target):
    """Count straight on the rows of a chunk, without tables, otherwise as `count_from_tables`.

    ``count_by_xor(blocks, block, flips, query, chunk, bounds, counters, source, target)``
    """
    n_digits = digits_of_type(blocks)
    n_bits = chunk_bits(n_digits)

    def codegen(context, builder, signature, arguments):
        blocks_value, block, flips_value, query, chunk, *rest = arguments
        emit = _Emitter(context, builder)
        rows_address = emit.chunk(blocks, blocks_value, block, chunk)
        row = emit.row_of_query(blocks, blocks_value, query, chunk)
        flips_address = emit.address(flips, flips_value, row, 4 * n_bits)
        next_address = emit.next_block(blocks, blocks_value, rows_address)
        rows = _flipped_rows(emit, n_bits, rows_address, next_address, flips_address)
        return _emit_chunk(emit, rows, n_digits, query, chunk, (bounds, counters), rest)

    return types.uint64(
        blocks, types.int64, flips, types.int64, types.int64, bounds, counters, types.int64, types.int64
    ), codegen


def _emit_chunk(emit, rows, n_digits, query, chunk, array_types, arguments):
    """Emit the count of a chunk, with the counters of the chunks before unless it is the first."""
    builder = emit.builder
    bounds_value, counters_value, source, target = arguments
    slot_bytes = (n_digits + 1) * ROW_BYTES
    bound = emit.address(array_types[0], bounds_value, query, 4 * n_digits)
    source, target = (emit.address(array_types[1], counters_value, slot, slot_bytes) for slot in (source, target))
    if 2**n_digits // 2 <= chunk_bits(n_digits):
        return _emit_count(emit, rows, n_digits, None, bound, target)
    words = cgutils.alloca_once(builder, I64)
    is_first = builder.icmp_signed("==", chunk, emit.number(0))
    with builder.if_else(is_first) as (first, later):
        with first:
            builder.store(_emit_count(emit, rows, n_digits, None, bound, target), words)
        with later:
            builder.store(_emit_count(emit, rows, n_digits, source, bound, target), words)
    return builder.load(words)


@intrinsic
def n_digits_of(typing_context, blocks):
    """Number of digits of a distance, a constant when compiled."""
    n_digits = digits_of_type(blocks)

    def codegen(context, builder, signature, arguments):
        return I64(n_digits)

    return types.int64(blocks), codegen


@intrinsic
def trailing_zeros(typing_context, word):
    """Index of the lowest set bit of a word that is not zero."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def population_count(typing_context, word):
    """Number of set bits of a word."""

    def codegen(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), codegen
