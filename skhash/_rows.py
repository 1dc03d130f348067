"""Instructions on rows of 512 bits, written into functions that numba compiles.

A *row* holds one bit of each of 512 items, as 8 words of 64 bits: one vector register of AVX-512. On other processors
LLVM splits it into the vectors that they have. Imported by functions only, because numba takes a while to import.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, config

ROW_WORDS = 8
ROW_BYTES = 8 * ROW_WORDS
ROW_ITEMS = 64 * ROW_WORDS

I32, I64 = ir.IntType(32), ir.IntType(64)
ROW = ir.VectorType(I64, ROW_WORDS)
ZEROS, ONES = (ir.Constant(ROW, [word] * ROW_WORDS) for word in (0, 2**64 - 1))

# Truth tables of three inputs for AVX-512's ternary logic instruction.
_SUM, _MAJORITY = 0x96, 0xE8


def has_ternary_logic():
    """Whether the processor that numba compiles for has AVX-512's ternary logic instruction."""
    if config.CPU_FEATURES is not None:
        return "+avx512f" in config.CPU_FEATURES
    return bool(llvm.get_host_cpu_features().get("avx512f", False))


class RowEmitter:
    """Writes instructions on rows into the function that numba is compiling."""

    def __init__(self, context, builder):
        self.context = context
        self.builder = builder
        self.has_ternary_logic = has_ternary_logic()

    def number(self, value):
        return ir.Constant(I64, value)

    def address(self, array_type, array, place, n_bytes=ROW_BYTES):
        """Address of a row of a C-contiguous array, or of something else that takes `n_bytes` bytes."""
        start = self.context.make_array(array_type)(self.context, self.builder, array).data
        return self.offset(self.builder.ptrtoint(start, I64), place, n_bytes)

    def offset(self, address, place, n_bytes=ROW_BYTES):
        return self.builder.add(address, self.builder.mul(place, self.number(n_bytes)))

    def pointer(self, address, n_bytes, pointee):
        """Turn an address, and a constant number of bytes from there, into a pointer."""
        return self.builder.inttoptr(self.builder.add(address, self.number(n_bytes)), pointee.as_pointer())

    def load(self, address, row=0):
        loaded = self.builder.load(self.pointer(address, ROW_BYTES * row, ROW))
        loaded.align = 8
        return loaded

    def store(self, value, address, row=0):
        stored = self.builder.store(value, self.pointer(address, ROW_BYTES * row, ROW))
        stored.align = 8

    def broadcast(self, address, word, word_type=I64):
        """Fill a row with one word of 64 or 32 bits from memory."""
        n_words = 64 * ROW_WORDS // word_type.width
        value = self.builder.load(self.pointer(address, word_type.width // 8 * word, word_type))
        undefined = ir.Constant(ir.VectorType(word_type, n_words), ir.Undefined)
        single = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        first_lane = ir.Constant(ir.VectorType(I32, n_words), [0] * n_words)
        return self.builder.bitcast(self.builder.shuffle_vector(single, undefined, first_lane), ROW)

    def full_adder(self, a, b, c):
        """Add three rows: a row of sums, and one of carries, which are worth twice as much."""
        if self.has_ternary_logic:
            return self.ternary_logic(a, b, c, _SUM), self.ternary_logic(a, b, c, _MAJORITY)
        partial = self.builder.xor(a, b)
        carry = self.builder.or_(self.builder.and_(a, b), self.builder.and_(partial, c))
        return self.builder.xor(partial, c), carry

    def half_adder(self, a, b):
        return self.builder.xor(a, b), self.builder.and_(a, b)

    def words_with_ones(self, row):
        """One bit for each word of a row that is not zero, as an integer of so many bits."""
        return self.builder.bitcast(self.builder.icmp_unsigned("!=", row, ZEROS), ir.IntType(ROW_WORDS))

    def ternary_logic(self, a, b, c, truth_table):
        return self.call("llvm.x86.avx512.pternlog.q.512", ROW, a, b, c, ir.Constant(I32, truth_table))

    def call(self, name, return_type, *arguments):
        """Call an intrinsic function of LLVM."""
        signature = ir.FunctionType(return_type, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), arguments)
