"""Histograms of the levels and distances of pairs, by bit-sliced loops that numba compiles.

Imported by functions only, because numba takes a while to import.

A *row* holds one bit of each of 512 items, as 8 words of 64 bits: one vector register of AVX-512. 512 items are a
*block*, 16 blocks a *group*. A bit of a query is compared with a whole row at once. Numbers of items are rows, too, one
for each binary *digit*. There are three steps:

- **Sum.** Rows of bits that differ are summed by adders, as in a circuit, which gives the digits of 512 distances. Rows
  of labels that are shared give the digits of levels in the same way. Levels of classes have one digit; items come
  sorted by class, so that its ones lie together.
- **Decode.** Digits are turned into rows that say which items have a number. The upper digits, those of levels first,
  divide the items of a group like the branches of a tree, and branches without items end. The lowest three digits are
  decoded apart: their 8 numbers are needed at each leaf.
- **Count.** An item has the level and the distance that its leaf and its lowest digits spell. The ones of such rows are
  counted by adders again, which leave one row in sixteen whose ones are counted word by word.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .._compiled import entry_jit
from .._rows import I64, ONES, ROW, ROW_BYTES, ROW_ITEMS, ROW_WORDS, ZEROS, RowEmitter

_jit = njit(nogil=True, error_model="numpy")

BLOCK_ITEMS = ROW_ITEMS
# Adders take 16 rows at once, which leaves the digits of a sum up to 15, and a row of sixteens.
ROWS_AT_ONCE = 16
N_SUM_DIGITS = 4
GROUP_BLOCKS = ROWS_AT_ONCE
GROUP_WORDS = GROUP_BLOCKS * ROW_WORDS
GROUP_BYTES = GROUP_BLOCKS * ROW_BYTES
# Digits that are decoded apart from the others, and the numbers that they spell.
N_LOW_DIGITS = 3
N_LOW = 2**N_LOW_DIGITS
# A counter has the digits of a sum, and for each word of a row, how many sixteens there were.
COUNTER_ROWS = N_SUM_DIGITS + 1
COUNTER_BYTES = COUNTER_ROWS * ROW_BYTES

_ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


class Room(NamedTuple):
    """Arrays that the loops work in; a tile is a few queries.

    The bits of the queries are `code_masks` and `label_masks`, of shape (n_tile, n_rows): words of zeros or of ones.
    `digits` are those of distances, then of levels, of shape (n_tile, n_groups, n_digits, n_words of a group). The
    `tree`, of two nodes a leaf, and `low`, of 8 numbers, hold the items of a group, `counters` those that were counted.
    """

    code_masks: np.ndarray
    label_masks: np.ndarray
    digits: np.ndarray
    tree: np.ndarray
    low: np.ndarray
    counters: np.ndarray


class _Emitter(RowEmitter):
    """Adds what counting needs."""

    def add_rows(self, load_row, digits, first=0, n_rows=ROWS_AT_ONCE):
        """Add rows to digits, which are replaced, and return the row of carries, each worth `n_rows`."""
        if n_rows == 1:
            return load_row(first)
        half = n_rows // 2
        carries = [self.add_rows(load_row, digits, start, half) for start in (first, first + half)]
        digit = half.bit_length() - 1
        digits[digit], carry = self.full_adder(digits[digit], *carries)
        return carry

    def count_ones(self, row):
        """Number of ones of each word."""
        return self.call("llvm.ctpop.v8i64", ROW, row)

    def sum_of_words(self, row):
        return self.call("llvm.vector.reduce.add.v8i64", I64, row)

    def is_any(self, row):
        """1 if a row has any ones, else 0."""
        words = self.words_with_ones(row)
        return self.builder.zext(self.builder.icmp_unsigned("!=", words, words.type(0)), I64)

    def loop(self, start, stop, step=1):
        return cgutils.for_range_slice(self.builder, self.number(start), stop, self.number(step), inc=True)


def _emit_sum(context, builder, signature, arguments, compare):
    """Emit what both intrinsics below do, which differ in how a row is compared with the mask of a query."""
    emit = _Emitter(context, builder)
    rows, first_row, n_rows, masks, first_mask, digits, first_digit, n_digits = arguments
    rows = emit.address(signature.args[0], rows, first_row)
    masks = emit.address(signature.args[3], masks, first_mask, 8)
    digits = emit.address(signature.args[5], digits, first_digit)

    def upper_digit(digit):
        # Digits of a block are as far apart as groups are large.
        return emit.offset(digits, digit, GROUP_BYTES)

    sum_digits = [cgutils.alloca_once_value(builder, ZEROS) for _ in range(N_SUM_DIGITS)]
    carry = cgutils.alloca_once(builder, ROW)
    with emit.loop(N_SUM_DIGITS, n_digits) as (digit, _):
        emit.store(ZEROS, upper_digit(digit))
    with emit.loop(0, n_rows, ROWS_AT_ONCE) as (first, _):
        some_rows, some_masks = emit.offset(rows, first), emit.offset(masks, first, 8)
        values = [builder.load(digit) for digit in sum_digits]
        sixteens = emit.add_rows(
            lambda row: compare(emit.load(some_rows, row), emit.broadcast(some_masks, row)), values
        )
        for digit, value in zip(sum_digits, values, strict=True):
            builder.store(value, digit)
        builder.store(sixteens, carry)
        with emit.loop(N_SUM_DIGITS, n_digits) as (digit, _):
            previous, added = emit.load(upper_digit(digit)), builder.load(carry)
            emit.store(builder.xor(previous, added), upper_digit(digit))
            builder.store(builder.and_(previous, added), carry)
    for number, digit in enumerate(sum_digits):
        emit.store(builder.load(digit), digits, number * GROUP_BLOCKS)
    return context.get_dummy_value()


@intrinsic
def _sum_differing(typing_context, rows, first_row, n_rows, masks, first_mask, digits, first_digit, n_digits):
    """Sum the bits of 512 items that differ from those of a query, into at least 4 digits.

    There are `n_rows` rows, a multiple of 16, and as many masks, one word each. Positions of rows, of masks and of
    digits are counted in rows, words and rows.
    """

    def generate(context, builder, signature, arguments):
        return _emit_sum(context, builder, signature, arguments, builder.xor)

    number = types.int64
    return types.void(rows, number, number, masks, number, digits, number, number), generate


@intrinsic
def _sum_shared(typing_context, rows, first_row, n_rows, masks, first_mask, digits, first_digit, n_digits):
    """Sum the ones of 512 items that a query has, too; otherwise like `_sum_differing`."""

    def generate(context, builder, signature, arguments):
        return _emit_sum(context, builder, signature, arguments, builder.and_)

    number = types.int64
    return types.void(rows, number, number, masks, number, digits, number, number), generate


@intrinsic
def _split(typing_context, tree, node, digits, digit):
    """Divide the items of a node by a digit: those with a zero go to node ``2 * node``, those with a one to the next.

    Returns 1 if there are any with a zero, plus 2 if there are any with a one.
    """

    def generate(context, builder, signature, arguments):
        emit = _Emitter(context, builder)
        source = emit.address(tree, arguments[0], arguments[1], GROUP_BYTES)
        target = emit.offset(source, arguments[1], GROUP_BYTES)
        digit_rows = emit.address(digits, arguments[2], arguments[3])
        any_zeros = any_ones = ZEROS
        for row in range(GROUP_BLOCKS):
            items = emit.load(source, row)
            ones = builder.and_(items, emit.load(digit_rows, row))
            zeros = builder.xor(items, ones)
            emit.store(zeros, target, row)
            emit.store(ones, target, GROUP_BLOCKS + row)
            any_zeros, any_ones = builder.or_(any_zeros, zeros), builder.or_(any_ones, ones)
        return builder.or_(emit.is_any(any_zeros), builder.shl(emit.is_any(any_ones), emit.number(1)))

    return types.int64(tree, types.int64, digits, types.int64), generate


@intrinsic
def _decode_low(typing_context, digits, first_digit, low):
    """Find the items of a group that have each number in their lowest digits."""

    def generate(context, builder, signature, arguments):
        emit = _Emitter(context, builder)
        source = emit.address(digits, arguments[0], arguments[1])
        target = emit.address(low, arguments[2], emit.number(0))
        for row in range(GROUP_BLOCKS):
            numbers = [ONES]
            for digit in reversed(range(N_LOW_DIGITS)):
                ones = emit.load(source, digit * GROUP_BLOCKS + row)
                choices = (builder.not_(ones), ones)
                numbers = [builder.and_(items, choice) for items in numbers for choice in choices]
            for number, items in enumerate(numbers):
                emit.store(items, target, number * GROUP_BLOCKS + row)
        return context.get_dummy_value()

    return types.void(digits, types.int64, low), generate


@intrinsic
def _count_items(typing_context, tree, leaf, low, number, counters, counter):
    """Add the items of a leaf that have a number in their lowest digits to a counter."""

    def generate(context, builder, signature, arguments):
        emit = _Emitter(context, builder)
        items = emit.address(tree, arguments[0], arguments[1], GROUP_BYTES)
        chosen = emit.address(low, arguments[2], arguments[3], GROUP_BYTES)
        target = emit.address(counters, arguments[4], arguments[5], COUNTER_BYTES)
        digits = [emit.load(target, digit) for digit in range(N_SUM_DIGITS)]
        sixteens = emit.add_rows(lambda row: builder.and_(emit.load(items, row), emit.load(chosen, row)), digits)
        n_sixteens = builder.add(emit.load(target, N_SUM_DIGITS), emit.count_ones(sixteens))
        for row, value in enumerate([*digits, n_sixteens]):
            emit.store(value, target, row)
        return context.get_dummy_value()

    return types.void(tree, types.int64, low, types.int64, counters, types.int64), generate


@intrinsic
def _read_and_clear(typing_context, counters, counter):
    """Return how many items were added to a counter, and set it back to 0."""

    def generate(context, builder, signature, arguments):
        emit = _Emitter(context, builder)
        source = emit.address(counters, arguments[0], arguments[1], COUNTER_BYTES)
        total = emit.load(source, N_SUM_DIGITS)
        for digit in reversed(range(N_SUM_DIGITS)):
            total = builder.add(builder.add(total, total), emit.count_ones(emit.load(source, digit)))
        for row in range(COUNTER_ROWS):
            emit.store(ZEROS, source, row)
        return emit.sum_of_words(total)

    return types.int64(counters, types.int64), generate


@_jit
def _set_range(words, first, last):
    """Set the bits of a group from item `first` to before item `last`, which may both lie outside of it."""
    first, last = max(first, 0), min(last, 64 * len(words))
    words[:] = 0
    if first < last:
        words[first // 64 : (last + 63) // 64] = _ALL_ONES
        words[first // 64] &= _ALL_ONES << np.uint64(first % 64)
        words[(last - 1) // 64] &= _ALL_ONES >> np.uint64(63 - (last - 1) % 64)


@_jit
def _set_masks(codes, masks):
    """Spell the bits of codes out, a word of zeros or ones each."""
    for byte in range(len(codes)):
        for bit in range(8):
            masks[8 * byte + bit] = -((np.int64(codes[byte]) >> (7 - bit)) & 1)


@_jit
def _count_group(digits, first_digit, n_digits, tree, is_any, low, counters, is_counted):
    """Count the items at the root of the tree, node 1, by the number that their digits spell."""
    _decode_low(digits, first_digit, low)
    n_leaves = len(tree) // 2
    digit = n_digits
    is_any[1] = True
    for node in range(1, n_leaves):
        # Nodes of one digit follow each other, from a power of two on.
        if node & (node - 1) == 0:
            digit -= 1
        found = _split(tree, node, digits, first_digit + digit * GROUP_BLOCKS) if is_any[node] else 0
        is_any[2 * node], is_any[2 * node + 1] = found & 1, found >> 1
    for leaf in range(n_leaves):
        if is_any[n_leaves + leaf]:
            is_counted[leaf] = True
            for number in range(N_LOW):
                _count_items(tree, n_leaves + leaf, low, number, counters, N_LOW * leaf + number)


@_jit
def _add_counters(counters, is_counted, n_distance_digits, counts):
    """Add the counters of all leaves with items to the counts of a query, of shape (n_levels, n_distances)."""
    for leaf in range(len(is_counted)):
        if is_counted[leaf]:
            is_counted[leaf] = False
            for number in range(N_LOW * leaf, N_LOW * (leaf + 1)):
                level, distance = number >> n_distance_digits, number & ((1 << n_distance_digits) - 1)
                n_items = _read_and_clear(counters, number)
                if distance < counts.shape[1]:
                    counts[level, distance] += n_items


@entry_jit
def add_histograms(
    query_codes,
    code_rows,
    query_labels,
    label_rows,
    first_relevant,
    last_relevant,
    n_items,
    n_distance_digits,
    n_level_digits,
    room,
    counts,
):
    """Add the pairs of each query with all items to its counts, of shape (n_queries, n_levels, n_distances).

    Items come as rows, of shape (n_blocks, n_rows, 8), of their codes and of their labels. The level of a pair is the
    number of labels that both have; or, without rows of labels, 1 from item `first_relevant` of a query to before
    `last_relevant` and else 0.
    """
    code_masks, label_masks, digits, tree, low, counters = room
    n_queries, n_blocks = len(query_codes), len(code_rows)
    n_code_rows, n_label_rows = code_rows.shape[1], label_rows.shape[1]
    tile_size, n_groups, n_stored_digits = digits.shape[:3]
    n_digits = n_distance_digits + n_level_digits
    is_any, is_counted = np.zeros(len(tree), dtype=np.bool_), np.zeros(len(tree) // 2, dtype=np.bool_)
    for first_block in range(0, n_blocks, n_groups * GROUP_BLOCKS):
        last_block = min(first_block + n_groups * GROUP_BLOCKS, n_blocks)
        for first_query in range(0, n_queries, tile_size):
            n_tile = min(tile_size, n_queries - first_query)
            for query in range(n_tile):
                _set_masks(query_codes[first_query + query], code_masks[query])
                _set_masks(query_labels[first_query + query], label_masks[query])
            for block in range(first_block, last_block):
                group, place = (block - first_block) // GROUP_BLOCKS, (block - first_block) % GROUP_BLOCKS
                for query in range(n_tile):
                    target = (query * n_groups + group) * n_stored_digits * GROUP_BLOCKS + place
                    _sum_differing(
                        code_rows, block * n_code_rows, n_code_rows, code_masks, query * n_code_rows, digits, target,
                        n_distance_digits,
                    )  # fmt: skip
                    if n_label_rows > 0:
                        _sum_shared(
                            label_rows, block * n_label_rows, n_label_rows, label_masks, query * n_label_rows, digits,
                            target + n_distance_digits * GROUP_BLOCKS, n_stored_digits - n_distance_digits,
                        )  # fmt: skip
            for query in range(n_tile):
                for group in range((last_block - first_block + GROUP_BLOCKS - 1) // GROUP_BLOCKS):
                    first_item = (first_block + group * GROUP_BLOCKS) * BLOCK_ITEMS
                    if n_label_rows == 0:
                        _set_range(
                            digits[query, group, n_distance_digits],
                            first_relevant[first_query + query] - first_item,
                            last_relevant[first_query + query] - first_item,
                        )
                    _set_range(tree[1], 0, n_items - first_item)
                    first_digit = (query * n_groups + group) * n_stored_digits * GROUP_BLOCKS
                    _count_group(digits, first_digit, n_digits, tree, is_any, low, counters, is_counted)
                _add_counters(counters, is_counted, n_distance_digits, counts[first_query + query])
