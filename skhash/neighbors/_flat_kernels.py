"""Loops over bit-sliced blocks: nearest neighbours and neighbours within a radius, compiled by numba.

Imported by functions only, because numba takes a while to import. Queries are searched in tiles, whose state stays in
the cache while the blocks of the database pass by.
"""

import numpy as np
from numba import njit

from .._compiled import entry_jit
from ._bitslice import (
    BLOCK_CODES,
    BLOCK_WORDS,
    ENTRY_BYTES,
    count_by_xor,
    count_from_tables,
    fill_tables,
    n_digits_of,
    population_count,
    trailing_zeros,
)

_jit = njit(nogil=True, error_model="numpy")
# A call passes arrays as dozens of numbers and counts references, which costs more than what these functions do.
_inline_jit = njit(nogil=True, error_model="numpy", inline="always")

_ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)

# Columns of the state of a query: bound, hits below the bound, hits in the buffer.
BOUND, N_BELOW, N_HITS = 0, 1, 2
# A hit is one integer, its distance above its position.
POSITION_BITS = 40
_POSITION_MASK = 2**POSITION_BITS - 1
_NO_DISTANCE = np.iinfo(np.int32).max

# With fewer queries, filling the tables of a chunk costs more than it saves.
_FEWEST_FOR_TABLES = 10


@_inline_jit
def _swap_quarters(square, size, mask):
    shift = np.uint64(size)
    for corner in range(0, 64, 2 * size):
        for row in range(corner, corner + size):
            swap = (square[row] ^ (square[row + size] >> shift)) & np.uint64(mask)
            square[row] ^= swap
            square[row + size] ^= swap << shift


@_jit
def _transpose_square(square):
    """Transpose 64 words as a matrix of bits whose columns count from the highest bit.

    Six rounds swap the off-diagonal quarters of ever smaller squares (Warren, Hacker's Delight, section 7-3).
    """
    # With constants, each round becomes vector instructions without a loop.
    _swap_quarters(square, 32, 0x00000000FFFFFFFF)
    _swap_quarters(square, 16, 0x0000FFFF0000FFFF)
    _swap_quarters(square, 8, 0x00FF00FF00FF00FF)
    _swap_quarters(square, 4, 0x0F0F0F0F0F0F0F0F)
    _swap_quarters(square, 2, 0x3333333333333333)
    _swap_quarters(square, 1, 0x5555555555555555)


@_inline_jit
def _word_of_code(codes, code, first_byte):
    """Up to 8 bytes of a code as a word, the first byte highest."""
    word = _ZERO
    if first_byte + 8 <= codes.shape[1]:
        for byte in range(8):
            word = word << np.uint64(8) | np.uint64(codes[code, first_byte + byte])
    else:
        for byte in range(first_byte, codes.shape[1]):
            word |= np.uint64(codes[code, byte]) << np.uint64(8 * (first_byte + 7 - byte))
    return word


@entry_jit
def write_codes(codes, blocks, first_position):
    """Write codes into blocks whose bits there are still zero, from any position on.

    Blocks come in the shape (n_blocks, n_bits, 8).
    """
    n_codes, n_bits = len(codes), blocks.shape[1]
    last_position = first_position + n_codes
    square = np.empty(64, dtype=np.uint64)
    for group in range(first_position // 64, (last_position + 63) // 64):
        block, word = 64 * group // BLOCK_CODES, 64 * group % BLOCK_CODES // 64
        start, stop = max(first_position, 64 * group), min(last_position, 64 * group + 64)
        for first_bit in range(0, n_bits, 64):
            first_byte = first_bit // 8
            square[:] = _ZERO
            for position in range(start, stop):
                # Columns count from the highest bit, positions from the lowest.
                square[63 - position % 64] = _word_of_code(codes, position - first_position, first_byte)
            _transpose_square(square)
            for bit in range(first_bit, min(first_bit + 64, n_bits)):
                blocks[block, bit, word] |= square[bit - first_bit]


@entry_jit
def read_codes(blocks, first_position, codes):
    """Read codes back from blocks of the shape (n_blocks, n_bits, 8), beginning at a multiple of 64."""
    n_codes, n_bytes = codes.shape
    n_bits = blocks.shape[1]
    square = np.empty(64, dtype=np.uint64)
    for start in range(0, n_codes, 64):
        position = first_position + start
        block, word = position // BLOCK_CODES, position % BLOCK_CODES // 64
        for first_bit in range(0, n_bits, 64):
            first_byte = first_bit // 8
            square[:] = _ZERO
            for bit in range(first_bit, min(first_bit + 64, n_bits)):
                square[bit - first_bit] = blocks[block, bit, word]
            _transpose_square(square)
            for code in range(start, min(start + 64, n_codes)):
                bits = square[63 - (code - start)]
                for byte in range(first_byte, min(first_byte + 8, n_bytes)):
                    codes[code, byte] = bits >> np.uint64(8 * (first_byte + 7 - byte)) & np.uint64(255)


@_inline_jit
def _set_bound(bounds, query, bound):
    """Spell a bound out as one word, 0 or -1, a binary digit."""
    for digit in range(bounds.shape[1]):
        bounds[query, digit] = -((bound >> digit) & 1)


@_jit
def _prepare_queries(codes, lookups, flips):
    """Turn queries into places in the tables of a chunk, and into words of zeros or ones a bit."""
    n_chunks, n_bits = flips.shape[1:]
    for query in range(len(codes)):
        for chunk in range(n_chunks):
            for group in range(lookups.shape[2]):
                lookups[query, chunk, group] = group * 8 * ENTRY_BYTES
            for bit in range(n_bits):
                byte = (chunk * n_bits + bit) // 8
                one = codes[query, byte] >> (7 - bit % 8) & 1 if byte < codes.shape[1] else 0
                flips[query, chunk, bit] = -one
                lookups[query, chunk, bit // 3] += (one << bit % 3) * ENTRY_BYTES


@_inline_jit
def _count_block(blocks, block, n_queries, n_chunks, tables, lookups, flips, bounds, counters, active, found):
    """Count the distances of all queries to the codes of a block, chunk after chunk.

    Queries drop out when every code has reached their bound. Of those that stay until the end, whose number is
    returned, `active` holds the queries, `found` which words of the mask are not zero, and `counters` the counters and
    the mask, of shape (n_digits + 1, 8) each.
    """
    n_active = n_queries
    for query in range(n_queries):
        active[query] = query
    for chunk in range(n_chunks):
        n_kept = 0
        if n_active >= _FEWEST_FOR_TABLES:
            fill_tables(blocks, block, chunk, tables)
            for source in range(n_active):
                query = active[source]
                words = count_from_tables(blocks, tables, lookups, query, chunk, bounds, counters, source, n_kept)
                active[n_kept] = query
                found[n_kept] = words
                n_kept += words != _ZERO
        else:
            for source in range(n_active):
                query = active[source]
                words = count_by_xor(blocks, block, flips, query, chunk, bounds, counters, source, n_kept)
                active[n_kept] = query
                found[n_kept] = words
                n_kept += words != _ZERO
        n_active = n_kept
        if n_active == 0:
            break
    return n_active


@_jit
def _keep_nearest(query, state, hits):
    """Drop the hits above the bound; what stays, in order, is all that can still be among the nearest."""
    kept = 0
    for hit in range(state[query, N_HITS]):
        if hits[query, hit] >> POSITION_BITS <= state[query, BOUND]:
            hits[query, kept] = hits[query, hit]
            kept += 1
    state[query, N_HITS] = kept


@_inline_jit
def _distance(blocks, counters, slot, word, place):
    """Read the distance of one code off the counters."""
    distance = np.int64(0)
    # The number of digits is a constant to the compiler, which then needs no loop.
    for digit in range(n_digits_of(blocks)):
        distance |= np.int64((counters[slot, digit, word] >> np.uint64(place)) & _ONE) << digit
    return distance


@_inline_jit
def _take_hits(query, blocks, block, words, counters, slot, valid, n_neighbors, state, bounds, histogram, hits):
    """Buffer the codes of a block below the bound, and lower the bound as soon as enough are known to be below it.

    Blocks come in order of position, so once `n_neighbors` hits are at or below a distance, a later code at that same
    distance has lost the tie: the comparison is strict.
    """
    bound, n_below, n_hits = state[query, BOUND], state[query, N_BELOW], state[query, N_HITS]
    n_digits = counters.shape[1] - 1
    while words != _ZERO:
        word = trailing_zeros(words)
        words &= words - _ONE
        mask = counters[slot, n_digits, word] & valid[block, word]
        first_position = block * BLOCK_CODES + word * 64
        while mask != _ZERO:
            place = trailing_zeros(mask)
            mask &= mask - _ONE
            distance = _distance(blocks, counters, slot, word, place)
            if distance >= bound:
                continue
            hits[query, n_hits] = distance << POSITION_BITS | (first_position + place)
            n_hits += 1
            histogram[query, distance] += 1
            n_below += 1
            while n_below >= n_neighbors:
                bound -= 1
                n_below -= histogram[query, bound]
        if n_hits > hits.shape[1] - 64:
            state[query, BOUND], state[query, N_HITS] = bound, n_hits
            _keep_nearest(query, state, hits)
            n_hits = state[query, N_HITS]
    state[query, BOUND], state[query, N_BELOW], state[query, N_HITS] = bound, n_below, n_hits
    _set_bound(bounds, query, bound)


@_jit
def _kth_smallest(sample, sampled_blocks, valid, rank, candidates):
    """The `rank`-th smallest distance in a sample of blocks, digit by digit from the top; -1 if there are fewer codes.

    `sample` holds the counters, of shape (n_sampled_blocks, n_digits, 8).
    """
    n_candidates = 0
    for s in range(len(sampled_blocks)):
        for word in range(BLOCK_WORDS):
            candidates[s, word] = valid[sampled_blocks[s], word]
            n_candidates += population_count(candidates[s, word])
    if n_candidates < rank:
        return -1
    distance = 0
    for digit in range(sample.shape[1] - 1, -1, -1):
        n_zeros = 0
        for s in range(len(sampled_blocks)):
            for word in range(BLOCK_WORDS):
                n_zeros += population_count(candidates[s, word] & ~sample[s, digit, word])
        flip = _ALL_ONES
        if n_zeros < rank:
            rank -= n_zeros
            distance |= 1 << digit
            flip = _ZERO
        for s in range(len(sampled_blocks)):
            for word in range(BLOCK_WORDS):
                candidates[s, word] &= sample[s, digit, word] ^ flip
    return distance


@_inline_jit
def _keep_counters(counters, n_queries, sampled, sample):
    for query in range(n_queries):
        for digit in range(sample.shape[2]):
            for word in range(BLOCK_WORDS):
                sample[query, sampled, digit, word] = counters[query, digit, word]


@_jit
def _bound_from_sample(sample, sampled_blocks, n_queries, valid, rank, state, bounds):
    """Start each query from the `rank`-th smallest distance in a sample, which very likely exceeds the one sought."""
    candidates = np.empty((len(sampled_blocks), BLOCK_WORDS), dtype=np.uint64)
    for query in range(n_queries):
        distance = _kth_smallest(sample[query], sampled_blocks, valid, rank, candidates)
        if distance >= 0:
            state[query, BOUND] = distance + 1
            _set_bound(bounds, query, distance + 1)


@_jit
def _sort_hits(n_hits, hits, starts, distances, positions):
    """Counting sort of hits by distance, stable, into one row of the result."""
    starts[:] = 0
    for hit in range(n_hits):
        starts[(hits[hit] >> POSITION_BITS) + 1] += 1
    for distance in range(len(starts) - 1):
        starts[distance + 1] += starts[distance]
    for hit in range(n_hits):
        distance = hits[hit] >> POSITION_BITS
        place = starts[distance]
        starts[distance] += 1
        if place < len(distances):
            distances[place] = distance
            positions[place] = hits[hit] & _POSITION_MASK


@entry_jit
def nearest_in_blocks(blocks, first, last, valid, n_sampled, rank, codes, tables, counters, distances, positions):
    """Find the nearest codes of queries among the blocks from `first` to `last`.

    Fills `distances` and `positions`, of shape (n_queries, n_neighbors). Where fewer codes are found than asked for,
    because there are fewer or because the sample misled and the query must be searched again without one, the rest is
    filled with a distance that no code has. The sample is `n_sampled` blocks, evenly spread over all; a query starts
    from the `rank`-th smallest of its distances to them. The number of slots of `counters` is the number of queries of
    a tile.
    """
    n_neighbors, n_digits = distances.shape[1], n_digits_of(blocks)
    n_chunks, n_bits = blocks.shape[-3], blocks.shape[-2]
    largest = n_chunks * n_bits + 1
    tile_size = min(len(counters), len(codes))
    lookups = np.empty((tile_size, n_chunks, (n_bits + 2) // 3), dtype=np.uint16)
    flips = np.empty((tile_size, n_chunks, n_bits), dtype=np.int32)
    bounds = np.empty((tile_size, n_digits), dtype=np.int32)
    state = np.empty((tile_size, 3), dtype=np.int64)
    histogram = np.empty((tile_size, largest + 1), dtype=np.int32)
    hits = np.empty((tile_size, 2 * n_neighbors + 192), dtype=np.int64)
    active = np.empty(tile_size, dtype=np.int64)
    words = np.empty(tile_size, dtype=np.uint64)
    starts = np.empty(largest + 2, dtype=np.int64)
    sampled_blocks = np.empty(n_sampled, dtype=np.int64)
    for s in range(n_sampled):
        sampled_blocks[s] = s * len(blocks) // n_sampled
    sample = np.empty((tile_size, n_sampled, n_digits, BLOCK_WORDS), dtype=np.uint64)
    for start in range(0, len(codes), tile_size):
        n_queries = min(tile_size, len(codes) - start)
        _prepare_queries(codes[start : start + n_queries], lookups, flips)
        histogram[:] = 0
        for query in range(n_queries):
            state[query, BOUND], state[query, N_BELOW], state[query, N_HITS] = largest, 0, 0
            _set_bound(bounds, query, largest)
        # The sampled blocks come first. No distance reaches the bound yet, so every query stays, in order.
        for step in range(n_sampled + last - first):
            block = sampled_blocks[step] if step < n_sampled else first + step - n_sampled
            n_active = _count_block(
                blocks, block, n_queries, n_chunks, tables, lookups, flips, bounds, counters, active, words
            )
            if step < n_sampled:
                _keep_counters(counters, n_queries, step, sample)
                if step == n_sampled - 1:
                    _bound_from_sample(sample, sampled_blocks, n_queries, valid, rank, state, bounds)
                continue
            for slot in range(n_active):
                _take_hits(
                    active[slot], blocks, block, words[slot], counters, slot, valid, n_neighbors, state, bounds,
                    histogram, hits,
                )  # fmt: skip
        for query in range(n_queries):
            n_hits = state[query, N_HITS]
            _sort_hits(n_hits, hits[query], starts, distances[start + query], positions[start + query])
            for missing in range(n_hits, n_neighbors):
                distances[start + query, missing] = _NO_DISTANCE
                positions[start + query, missing] = 0


@_jit
def _grown(hits, n_hits, n_more):
    larger = np.empty(2 * (n_hits + n_more), dtype=hits.dtype)
    # A loop, because numba takes seconds to compile the assignment of a slice.
    for hit in range(n_hits):
        larger[hit] = hits[hit]
    return larger


@entry_jit
def within_radius_in_blocks(blocks, first, last, valid, radius, most_hits, codes, tables, counters):
    """Find all codes within a radius of queries, at most one tile, among the blocks from `first` to `last`.

    Returns the number of hits of each query, and distances and slots of all hits by (query, distance, slot). Once there
    are more than `most_hits`, it returns -1 for each query and no hits. The number of slots of `counters` is at least
    that of queries.
    """
    n_digits, n_queries = n_digits_of(blocks), len(codes)
    n_chunks, n_bits = blocks.shape[-3], blocks.shape[-2]
    lookups = np.empty((n_queries, n_chunks, (n_bits + 2) // 3), dtype=np.uint16)
    flips = np.empty((n_queries, n_chunks, n_bits), dtype=np.int32)
    bounds = np.empty((n_queries, n_digits), dtype=np.int32)
    active = np.empty(n_queries, dtype=np.int64)
    words = np.empty(n_queries, dtype=np.uint64)
    _prepare_queries(codes, lookups, flips)
    for query in range(n_queries):
        _set_bound(bounds, query, radius + 1)
    n_hits, hits = 0, np.empty(1024, dtype=np.int64)
    for block in range(first, last):
        n_active = _count_block(
            blocks, block, n_queries, n_chunks, tables, lookups, flips, bounds, counters, active, words
        )
        if n_hits > most_hits:
            return np.full(n_queries, -1), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
        if n_hits + n_active * BLOCK_CODES > len(hits):
            hits = _grown(hits, n_hits, n_active * BLOCK_CODES)
        for slot in range(n_active):
            first_key = active[slot] * (radius + 1)
            nonzero = words[slot]
            while nonzero != _ZERO:
                word = trailing_zeros(nonzero)
                nonzero &= nonzero - _ONE
                mask = counters[slot, n_digits, word] & valid[block, word]
                first_position = block * BLOCK_CODES + word * 64
                while mask != _ZERO:
                    place = trailing_zeros(mask)
                    mask &= mask - _ONE
                    key = first_key + _distance(blocks, counters, slot, word, place)
                    hits[n_hits] = key << POSITION_BITS | (first_position + place)
                    n_hits += 1
    # Hits come in order of position, and the counting sort by (query, distance) is stable.
    starts = np.zeros(n_queries * (radius + 1) + 1, dtype=np.int64)
    for hit in range(n_hits):
        starts[(hits[hit] >> POSITION_BITS) + 1] += 1
    for key in range(len(starts) - 1):
        starts[key + 1] += starts[key]
    counts = np.empty(n_queries, dtype=np.int64)
    for query in range(n_queries):
        counts[query] = starts[(query + 1) * (radius + 1)] - starts[query * (radius + 1)]
    distances = np.empty(n_hits, dtype=np.int32)
    positions = np.empty(n_hits, dtype=np.int64)
    for hit in range(n_hits):
        key = hits[hit] >> POSITION_BITS
        distances[starts[key]] = key % (radius + 1)
        positions[starts[key]] = hits[hit] & _POSITION_MASK
        starts[key] += 1
    return counts, distances, positions
