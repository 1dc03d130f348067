"""Loops over bit-sliced blocks: nearest neighbours and neighbours within a radius, compiled by numba.

Imported by functions only, because numba takes a while to import. Every function works on one tile of queries, whose
state stays in the cache while the blocks of the database pass by.
"""

import numpy as np
from numba import njit

from ._bitslice import (
    BLOCK_CODES,
    BLOCK_WORDS,
    code_length,
    count_by_xor,
    count_from_tables,
    fill_tables,
    population_count,
    trailing_zeros,
)

_jit = njit(nogil=True, error_model="numpy")
# A call passes arrays as dozens of numbers and counts references, which costs more than what these functions do.
_inline_jit = njit(nogil=True, error_model="numpy", inline="always")


def _entry_jit(function):
    """Compile a function that Python calls, and keep the code, with that of all it calls, on disk."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        # No folder for the code can be written: every process compiles for itself.
        return _jit(function)


_ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)

# Columns of the state of a query: bound, codes found below the bound, hits in the buffer.
BOUND, N_BELOW, N_HITS = 0, 1, 2


@_entry_jit
def transpose(codes, blocks, first_position):
    """Write codes into blocks whose bits there are still zero, from any position on.

    Blocks come in the shape (n_blocks, n_bits, 8).

    Eight codes at a time: their bytes form an 8 x 8 matrix of bits in one word, which three rounds of swaps transpose.
    """
    n_codes, n_bytes = codes.shape
    last_position = first_position + n_codes
    for group in range(first_position // 8, (last_position + 7) // 8):
        block, word = 8 * group // BLOCK_CODES, 8 * group % BLOCK_CODES // 64
        shift = np.uint64(8 * group % 64)
        rows = blocks[block]
        start, stop = max(first_position, 8 * group), min(last_position, 8 * group + 8)
        for byte in range(n_bytes):
            bits = _ZERO
            for position in range(start, stop):
                bits |= np.uint64(codes[position - first_position, byte]) << np.uint64(8 * (position % 8))
            bits = _transpose_8x8(bits)
            for bit in range(8):
                rows[8 * byte + bit, word] |= (bits >> np.uint64(8 * (7 - bit)) & np.uint64(255)) << shift


@_inline_jit
def _transpose_8x8(bits):
    swap = (bits ^ (bits >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
    bits ^= swap ^ (swap << np.uint64(7))
    swap = (bits ^ (bits >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
    bits ^= swap ^ (swap << np.uint64(14))
    swap = (bits ^ (bits >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
    return bits ^ swap ^ (swap << np.uint64(28))


@_inline_jit
def _distance(scratch, n_digits, word, place):
    distance = 0
    for digit in range(n_digits):
        distance |= np.int64((scratch[digit, word] >> place) & _ONE) << digit
    return distance


@_inline_jit
def _set_bound(bounds, query, bound):
    """Spell a bound out as one word, 0 or -1, a binary digit."""
    for digit in range(bounds.shape[1]):
        bounds[query, digit] = -((bound >> digit) & 1)


@_jit
def _keep_nearest(query, state, hit_distances, hit_positions):
    """Drop the hits above the bound; what stays, in order, is all that can still be among the nearest."""
    kept = 0
    for hit in range(state[query, N_HITS]):
        if hit_distances[query, hit] <= state[query, BOUND]:
            hit_distances[query, kept] = hit_distances[query, hit]
            hit_positions[query, kept] = hit_positions[query, hit]
            kept += 1
    state[query, N_HITS] = kept


@_inline_jit
def _take_hits(
    query, block, words, scratch, n_digits, valid, n_neighbors, state, bounds, histogram, hit_distances, hit_positions
):
    """Buffer the codes of a block below the bound, and lower the bound as soon as enough are known to be below it.

    Blocks come in order of position, so once `n_neighbors` hits are at or below a distance, a later code at that same
    distance has lost the tie: the comparison is strict.
    """
    bound, n_below = state[query, BOUND], state[query, N_BELOW]
    while words != _ZERO:
        word = trailing_zeros(words)
        words &= words - _ONE
        mask = scratch[n_digits, word] & valid[block, word]
        while mask != _ZERO:
            place = np.uint64(trailing_zeros(mask))
            mask &= mask - _ONE
            distance = _distance(scratch, n_digits, word, place)
            if distance >= bound:
                continue
            hit = state[query, N_HITS]
            hit_distances[query, hit] = distance
            hit_positions[query, hit] = block * BLOCK_CODES + word * 64 + np.int64(place)
            state[query, N_HITS] = hit + 1
            histogram[query, distance] += 1
            n_below += 1
            while n_below >= n_neighbors:
                bound -= 1
                n_below -= histogram[query, bound]
        if state[query, N_HITS] > hit_distances.shape[1] - 64:
            state[query, BOUND] = bound
            _keep_nearest(query, state, hit_distances, hit_positions)
    state[query, BOUND], state[query, N_BELOW] = bound, n_below
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


@_jit
def _bound_from_sample(
    blocks, sampled_blocks, valid, rank, use_tables, tables, lookups, flips, state, bounds, scratch, sample
):
    """Start each query from the `rank`-th smallest distance in a sample, which very likely exceeds the one sought."""
    n_queries, n_digits = bounds.shape
    for s in range(len(sampled_blocks)):
        if use_tables:
            fill_tables(blocks, sampled_blocks[s], tables)
        for query in range(n_queries):
            if use_tables:
                count_from_tables(blocks, tables, lookups, query, bounds, scratch)
            else:
                count_by_xor(blocks, sampled_blocks[s], flips, query, bounds, scratch)
            sample[query, s] = scratch[:n_digits]
    candidates = np.empty((len(sampled_blocks), BLOCK_WORDS), dtype=np.uint64)
    for query in range(n_queries):
        distance = _kth_smallest(sample[query], sampled_blocks, valid, rank, candidates)
        if distance >= 0:
            state[query, BOUND] = distance + 1
            _set_bound(bounds, query, distance + 1)


@_jit
def _sort_hits(query, state, hit_distances, hit_positions, starts, distances, positions):
    """Counting sort of the hits by distance, stable, into one row of the result; return how many there were."""
    starts[:] = 0
    n_hits = state[query, N_HITS]
    for hit in range(n_hits):
        starts[hit_distances[query, hit] + 1] += 1
    for distance in range(len(starts) - 1):
        starts[distance + 1] += starts[distance]
    for hit in range(n_hits):
        distance = hit_distances[query, hit]
        place = starts[distance]
        starts[distance] += 1
        if place < len(distances):
            distances[place] = distance
            positions[place] = hit_positions[query, hit]
    return n_hits


@_entry_jit
def nearest_in_tile(
    blocks, first, last, valid, sampled_blocks, rank, lookups, flips, tables, scratch, sample, distances, positions
):
    """Find the nearest codes of a tile of queries among the blocks from `first` to `last`.

    Queries come as `lookups` into the tables, or as `flips` when `lookups` has no rows. Fills `distances` and
    `positions`, of shape (n_queries, n_neighbors), and returns the number of neighbours found for each query: fewer
    than asked for if there are fewer codes, or if the sample misled and the query must be searched again without one.
    """
    n_queries, n_neighbors = distances.shape
    n_digits, use_tables = scratch.shape[0] - 1, len(lookups) > 0
    n_bits = code_length(blocks)
    state = np.zeros((n_queries, 3), dtype=np.int64)
    bounds = np.empty((n_queries, n_digits), dtype=np.int64)
    histogram = np.zeros((n_queries, n_bits + 2), dtype=np.int64)
    hit_distances = np.empty((n_queries, 2 * n_neighbors + 192), dtype=np.uint16)
    hit_positions = np.empty((n_queries, 2 * n_neighbors + 192), dtype=np.int64)
    for query in range(n_queries):
        state[query, BOUND] = n_bits + 1
        _set_bound(bounds, query, n_bits + 1)
    if len(sampled_blocks) > 0:
        _bound_from_sample(
            blocks, sampled_blocks, valid, rank, use_tables, tables, lookups, flips, state, bounds, scratch, sample
        )
    for block in range(first, last):
        if use_tables:
            fill_tables(blocks, block, tables)
        for query in range(n_queries):
            if use_tables:
                words = count_from_tables(blocks, tables, lookups, query, bounds, scratch)
            else:
                words = count_by_xor(blocks, block, flips, query, bounds, scratch)
            if words != _ZERO:
                _take_hits(
                    query, block, words, scratch, n_digits, valid, n_neighbors, state, bounds, histogram, hit_distances,
                    hit_positions,
                )  # fmt: skip
    found = np.empty(n_queries, dtype=np.int64)
    starts = np.empty(n_bits + 3, dtype=np.int64)
    for query in range(n_queries):
        _keep_nearest(query, state, hit_distances, hit_positions)
        found[query] = _sort_hits(
            query, state, hit_distances, hit_positions, starts, distances[query], positions[query]
        )
    return found


@_jit
def _grown(array, size):
    larger = np.empty(2 * size, dtype=array.dtype)
    larger[:size] = array[:size]
    return larger


@_entry_jit
def within_radius_in_tile(blocks, first, last, valid, radius, lookups, flips, tables, scratch, n_queries):
    """Find all codes within a radius of a tile of queries among the blocks from `first` to `last`.

    Returns queries, distances and positions of all hits, block after block, and their number.
    """
    n_digits, use_tables = scratch.shape[0] - 1, len(lookups) > 0
    bounds = np.empty((n_queries, n_digits), dtype=np.int64)
    for query in range(n_queries):
        _set_bound(bounds, query, radius + 1)
    size, n_hits = 1024, 0
    hit_queries = np.empty(size, dtype=np.int32)
    hit_distances = np.empty(size, dtype=np.int32)
    hit_positions = np.empty(size, dtype=np.int64)
    for block in range(first, last):
        if use_tables:
            fill_tables(blocks, block, tables)
        for query in range(n_queries):
            if use_tables:
                words = count_from_tables(blocks, tables, lookups, query, bounds, scratch)
            else:
                words = count_by_xor(blocks, block, flips, query, bounds, scratch)
            if words == _ZERO:
                continue
            if n_hits > size - BLOCK_CODES:
                hit_queries, hit_distances, hit_positions = (
                    _grown(hit_queries, size), _grown(hit_distances, size), _grown(hit_positions, size),
                )  # fmt: skip
                size *= 2
            while words != _ZERO:
                word = trailing_zeros(words)
                words &= words - _ONE
                mask = scratch[n_digits, word] & valid[block, word]
                while mask != _ZERO:
                    place = np.uint64(trailing_zeros(mask))
                    mask &= mask - _ONE
                    hit_queries[n_hits] = query
                    hit_distances[n_hits] = _distance(scratch, n_digits, word, place)
                    hit_positions[n_hits] = block * BLOCK_CODES + word * 64 + np.int64(place)
                    n_hits += 1
    return hit_queries[:n_hits], hit_distances[:n_hits], hit_positions[:n_hits]
