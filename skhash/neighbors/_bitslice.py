"""Counting bits of 512 codes at once: the transposed layout and the vector instructions that run on it.

**Layout.** 512 codes form a *block*. Inside a block, codes are transposed: row ``j`` of its bits holds bit ``j`` of all
512 codes, as 8 words of 64 bits, which is one vector register of AVX-512. The bytes are those of the codes, in another
order.

**Counting.** XOR of row ``j`` with bit ``j`` of a query (all zeros or all ones) leaves a one for each code that
differs in bit ``j``. Summing those rows over ``j`` gives 512 Hamming distances. The sum is done in binary by *adders*
on whole rows, as a circuit would do it: a full adder takes three rows of weight :math:`2^w` and gives a sum row of the
same weight and a carry row of weight :math:`2^{w+1}`, five bitwise operations (two on AVX-512) for 512 additions. What
remains is one row a binary digit of the distance, the *counters*. A bound is compared with all 512 distances in one
more operation a digit.

**Tables.** The first layer of adders depends on three bits of the query only. With several queries, the sum and carry
of all 8 combinations are computed once a block (`fill_tables`) and looked up by each query (`count_from_tables`).

The code length is a part of the type of the blocks (`block_shape`), so numba compiles one straight line of
instructions for each length. Its cache on disk looks at the date of ``_flat_kernels.py`` only: whoever changes this
file has to touch that one.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

BLOCK_CODES = 512
BLOCK_WORDS = BLOCK_CODES // 64
VECTOR_BYTES = 8 * BLOCK_WORDS

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_I64, BLOCK_WORDS)

# Truth tables of three inputs for AVX-512's ternary logic instruction.
_SUM, _MAJORITY, _LESS_STEP = 0x96, 0xE8, 0xB2


def block_shape(n_bits):
    """Shape of one block of transposed codes, whose number of axes tells the code length to numba.

    Numba compiles a function for each number of axes. (A record dtype would say the same more plainly, but numba names
    compiled functions of records by a number that differs between processes, and links the wrong one from its cache.)

    Parameters
    ----------
    n_bits : int
        Code length: 32 times a power of two.

    Returns
    -------
    shape : tuple of int
        ``(2, ..., 2, 32, 8)``, in all `n_bits` rows of 8 words.
    """
    return (2,) * ((n_bits // 32).bit_length() - 1) + (32, BLOCK_WORDS)


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


def has_ternary_logic():
    """Whether the processor that numba compiles for has AVX-512's ternary logic instruction."""
    if config.CPU_FEATURES is not None:
        return "+avx512f" in config.CPU_FEATURES
    return bool(llvm.get_host_cpu_features().get("avx512f", False))


class _Emitter:
    """Writes vector instructions into the function that numba is compiling."""

    def __init__(self, context, builder):
        self.context = context
        self.builder = builder
        self.ternary = has_ternary_logic()

    def address(self, array_type, array, byte_offset):
        """Address of a byte of a C-contiguous array, as an integer."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        return self.builder.add(self.builder.ptrtoint(data, _I64), byte_offset)

    def load(self, address, byte_offset=0):
        place = self.builder.add(address, ir.Constant(_I64, byte_offset))
        vector = self.builder.load(self.builder.inttoptr(place, _VECTOR.as_pointer()))
        vector.align = 8
        return vector

    def store(self, vector, address, byte_offset=0):
        place = self.builder.add(address, ir.Constant(_I64, byte_offset))
        stored = self.builder.store(vector, self.builder.inttoptr(place, _VECTOR.as_pointer()))
        stored.align = 8

    def broadcast(self, address, byte_offset):
        """Fill a vector with one word from memory."""
        place = self.builder.add(address, ir.Constant(_I64, byte_offset))
        word = self.builder.load(self.builder.inttoptr(place, _I64.as_pointer()))
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        single = self.builder.insert_element(undefined, word, ir.Constant(_I32, 0))
        lanes = ir.Constant(ir.VectorType(_I32, BLOCK_WORDS), [0] * BLOCK_WORDS)
        return self.builder.shuffle_vector(single, undefined, lanes)

    def full_adder(self, a, b, c):
        if self.ternary:
            return self._ternary_logic(a, b, c, _SUM), self._ternary_logic(a, b, c, _MAJORITY)
        builder = self.builder
        partial = builder.xor(a, b)
        return builder.xor(partial, c), builder.or_(builder.and_(a, b), builder.and_(partial, c))

    def half_adder(self, a, b):
        return self.builder.xor(a, b), self.builder.and_(a, b)

    def less_than(self, counters, bound_address):
        """Compare all counters with a bound given as one word, 0 or -1, a binary digit.

        From the least significant digit on: less = digit of the bound ? (not counter or less) : (not counter and less).
        """
        less = ir.Constant(_VECTOR, [0] * BLOCK_WORDS)
        for digit, counter in enumerate(counters):
            bound = self.broadcast(bound_address, 8 * digit)
            if self.ternary:
                less = self._ternary_logic(less, counter, bound, _LESS_STEP)
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

    def finish(self, counters, bound_address, scratch_address):
        """Compare, and store the counters and the mask of codes below the bound if there are any.

        Returns one bit for each word of the mask that is not zero.
        """
        less = self.less_than(counters, bound_address)
        nonzero = self.builder.icmp_unsigned("!=", less, ir.Constant(_VECTOR, [0] * BLOCK_WORDS))
        words = self.builder.bitcast(nonzero, ir.IntType(BLOCK_WORDS))
        some = self.builder.icmp_unsigned("!=", words, ir.Constant(words.type, 0))
        with self.builder.if_then(some, likely=False):
            for digit, counter in enumerate(counters):
                self.store(counter, scratch_address, digit * VECTOR_BYTES)
            self.store(less, scratch_address, len(counters) * VECTOR_BYTES)
        return self.builder.zext(words, _I64)

    def _ternary_logic(self, a, b, c, truth_table):
        signature = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR, _I32])
        function = cgutils.get_or_insert_function(self.builder.module, signature, "llvm.x86.avx512.pternlog.q.512")
        return self.builder.call(function, [a, b, c, ir.Constant(_I32, truth_table)])


def bits_of_type(blocks_type):
    """Code length of the blocks in an array, from numba's type of it."""
    return 32 << (blocks_type.ndim - 3)


def _times(builder, value, factor):
    return builder.mul(value, ir.Constant(_I64, factor))


def _table_network(n_bits):
    """Adders behind the tables: a sum of weight 1 and a carry of weight 2 from each group of three bits."""
    inputs = []
    for group in range(n_groups(n_bits)):
        inputs += [(0, f"group sum {group}"), (1, f"group carry {group}")]
    return adder_network(inputs)


def _emit_table_rows(emit, n_bits, tables_address, lookups_address):
    """Emit the adder network on looked-up sums and carries and return the counters."""
    builder = emit.builder
    steps, counters = _table_network(n_bits)

    def load(name):
        kind, group = name.rsplit(" ", 1)
        place = builder.add(lookups_address, ir.Constant(_I64, 4 * int(group)))
        offset = builder.zext(builder.load(builder.inttoptr(place, _I32.as_pointer())), _I64)
        return emit.load(builder.add(tables_address, offset), VECTOR_BYTES if "carry" in kind else 0)

    rows = emit.run(steps, load)
    return [rows[name] for name in counters]


def _emit_xor_rows(emit, n_bits, block_address, flips_address):
    """Emit the adder network on rows that are flipped where the query has a one, and return the counters."""
    steps, counters = adder_network([(0, str(bit)) for bit in range(n_bits)])

    def load(bit):
        flip = emit.broadcast(flips_address, 8 * int(bit))
        return emit.builder.xor(emit.load(block_address, int(bit) * VECTOR_BYTES), flip)

    rows = emit.run(steps, load)
    return [rows[name] for name in counters]


@intrinsic
def fill_tables(typing_context, blocks, block, tables):
    """Compute the sum and the carry of every group of three bits for all 8 queries there can be.

    ``fill_tables(blocks, block, tables)`` with `tables` of shape (n_groups, 8, 2, 8), dtype uint64.
    """
    n_bits = bits_of_type(blocks)

    def codegen(context, builder, signature, arguments):
        emit = _Emitter(context, builder)
        zero, ones = (ir.Constant(_VECTOR, [value] * BLOCK_WORDS) for value in (0, 2**64 - 1))
        source = emit.address(blocks, arguments[0], _times(builder, arguments[1], n_bits * VECTOR_BYTES))
        target = emit.address(tables, arguments[2], ir.Constant(_I64, 0))
        for group in range(n_groups(n_bits)):
            bits = range(3 * group, min(3 * group + 3, n_bits))
            rows = [emit.load(source, bit * VECTOR_BYTES) for bit in bits] + [zero] * (3 - len(bits))
            for query in range(8):
                flipped = [builder.xor(row, ones) if query >> i & 1 else row for i, row in enumerate(rows)]
                total, carry = emit.full_adder(*flipped)
                emit.store(total, target, ((group * 8 + query) * 2) * VECTOR_BYTES)
                emit.store(carry, target, ((group * 8 + query) * 2 + 1) * VECTOR_BYTES)
        return context.get_dummy_value()

    return types.void(blocks, types.int64, tables), codegen


@intrinsic
def count_from_tables(typing_context, blocks, tables, lookups, query, bounds, scratch):
    """Count with the tables of a block and compare with the bound of a query.

    ``count_from_tables(blocks, tables, lookups, query, bounds, scratch)`` computes the mask of the codes whose distance
    is below the bound and returns which of its 8 words are not zero, one bit each. Only if there are any does it fill
    `scratch` with the counters and the mask.
    """
    n_bits = bits_of_type(blocks)

    def codegen(context, builder, signature, arguments):
        emit = _Emitter(context, builder)
        tables_address = emit.address(tables, arguments[1], ir.Constant(_I64, 0))
        lookups_address = emit.address(lookups, arguments[2], _times(builder, arguments[3], 4 * n_groups(n_bits)))
        bound_address = emit.address(bounds, arguments[4], _times(builder, arguments[3], 8 * n_counters(n_bits)))
        scratch_address = emit.address(scratch, arguments[5], ir.Constant(_I64, 0))
        counters = _emit_table_rows(emit, n_bits, tables_address, lookups_address)
        return emit.finish(counters, bound_address, scratch_address)

    return types.uint64(blocks, tables, lookups, types.int64, bounds, scratch), codegen


@intrinsic
def count_by_xor(typing_context, blocks, block, flips, query, bounds, scratch):
    """Count straight on a block, without tables, and compare with the bound of a query.

    ``count_by_xor(blocks, block, flips, query, bounds, scratch)``, otherwise as `count_from_tables`.
    """
    n_bits = bits_of_type(blocks)

    def codegen(context, builder, signature, arguments):
        emit = _Emitter(context, builder)
        block_address = emit.address(blocks, arguments[0], _times(builder, arguments[1], n_bits * VECTOR_BYTES))
        flips_address = emit.address(flips, arguments[2], _times(builder, arguments[3], 8 * n_bits))
        bound_address = emit.address(bounds, arguments[4], _times(builder, arguments[3], 8 * n_counters(n_bits)))
        scratch_address = emit.address(scratch, arguments[5], ir.Constant(_I64, 0))
        counters = _emit_xor_rows(emit, n_bits, block_address, flips_address)
        return emit.finish(counters, bound_address, scratch_address)

    return types.uint64(blocks, types.int64, flips, types.int64, bounds, scratch), codegen


@intrinsic
def code_length(typing_context, blocks):
    """Code length of blocks, a constant when compiled."""
    n_bits = bits_of_type(blocks)

    def codegen(context, builder, signature, arguments):
        return ir.Constant(_I64, n_bits)

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
