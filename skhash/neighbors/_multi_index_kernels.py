"""Loops of multi-index hashing: building the tables and searching them, compiled by numba.

Imported by functions only, because numba takes a while to import. `_multi_index` describes the arrays.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .._compiled import entry_jit
from ._bitslice import population_count, trailing_zeros

_jit = njit(nogil=True, error_model="numpy")

_ONE = np.uint64(1)

# Values of a substring that share one word of the directory: 2^6, told apart by their lowest 6 bits.
VALUES_PER_GROUP = 64
_GROUP_SHIFT, _BIT_MASK = 6, 63

# A hit is one integer, its distance above its slot or, later, its position.
_POSITION_BITS = 40
_POSITION_MASK = 2**_POSITION_BITS - 1

# What a search takes at least, and for each substring that is looked up, each code that is compared, each of its words,
# each code that is near enough to be kept or was found before, and each code if all are compared in order; on a
# processor of 2.5 GHz whose caches do not hold the tables. Budgets are compared with these numbers and never with a
# clock, so that the same search always ends at the same place.
SECONDS_PER_QUERY = 2e-6
SECONDS_PER_PROBE = 7e-9
SECONDS_PER_CANDIDATE = 9e-9
SECONDS_PER_WORD = 3e-9
SECONDS_PER_NEAR = 2.5e-8
_SECONDS_PER_SCANNED = 5e-9

# Bits of a substring that are sorted in the cache, after the codes were parted by the bits above.
_SORTED_BITS = 11
# Buckets, and then candidates, that are fetched before the first of them is looked at.
_CHUNK = 512
# Fewer hits are sorted by insertion.
_FEWEST_FOR_RADIX_SORT = 48


@intrinsic
def _prefetch(typing_context, array, index):
    """Ask for an element of a one-dimensional array, so that it may be in the cache when it is read."""

    def codegen(context, builder, signature, arguments):
        pointer_type, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = context.make_array(array)(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), pointer_type)
        signature = ir.FunctionType(ir.VoidType(), [pointer_type, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
        # To be read, used more than once, data.
        builder.call(function, [address, *(ir.Constant(flag, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@_jit
def _substring(words, first_word, start, length):
    """Read `length` bits, fewer than 64, from bit `start` of the words of a code on."""
    word, shift = first_word + (start >> 6), start & 63
    bits = words[word] >> np.uint64(shift)
    if shift + length > 64:
        bits |= words[word + 1] << np.uint64(64 - shift)
    return np.int64(bits & ((_ONE << np.uint64(length)) - _ONE))


@entry_jit
def build_table(words, n_words, start, length, directory, n_before, entries):
    """Sort codes by a substring, ties by position, and write down where each value begins.

    By two rounds of counting sort: the first writes to few places at once, the second stays in the cache.

    Fills `directory`, `n_before` and `entries`, and returns where each value that occurs begins in `entries`, followed
    by the end.
    """
    n_codes = len(entries)
    low_bits = min(length, _SORTED_BITS)
    low_mask = (1 << low_bits) - 1
    part_stops = np.zeros((1 << (length - low_bits)) + 1, dtype=np.int64)
    for code in range(n_codes):
        part_stops[(_substring(words, code * n_words, start, length) >> low_bits) + 1] += 1
    for part in range(1, len(part_stops)):
        part_stops[part] += part_stops[part - 1]
    parted = np.empty(n_codes, dtype=np.int64)
    for code in range(n_codes):
        key = _substring(words, code * n_words, start, length)
        parted[part_stops[key >> low_bits]] = (key & low_mask) << _POSITION_BITS | code
        part_stops[key >> low_bits] += 1

    starts = np.empty(min(n_codes, 1 << length) + 1, dtype=entries.dtype)
    places = np.empty(1 << low_bits, dtype=np.int64)
    n_values, first = 0, 0
    for part in range(len(part_stops) - 1):
        # Each part was moved on to its end, which is where the next began.
        last = part_stops[part]
        places[:] = 0
        for item in range(first, last):
            places[parted[item] >> _POSITION_BITS] += 1
        place = first
        for key in range(len(places)):
            group, bit = divmod((part << low_bits) + key, VALUES_PER_GROUP)
            if bit == 0:
                n_before[group] = n_values
            count = places[key]
            places[key] = place
            if count > 0:
                directory[group] |= _ONE << np.uint64(bit)
                starts[n_values] = place
                n_values += 1
                place += count
        for item in range(first, last):
            key = parted[item] >> _POSITION_BITS
            entries[places[key]] = parted[item] & _POSITION_MASK
            places[key] += 1
        first = last
    starts[n_values] = n_codes
    return starts[: n_values + 1].copy()


@_jit
def _next_flips(flips):
    """The next larger word with as many ones (Gosper, HAKMEM, item 175)."""
    zeros = np.uint64(trailing_zeros(flips))
    carried = flips + (_ONE << zeros)
    return carried | ((carried ^ flips) >> np.uint64(2)) >> zeros


@_jit
def _probe(directory, first_group, key, flips, last_flips, found):
    """Flip bits of a substring and keep what occurs, until all ways were tried or `found` is full.

    Returns the number found and where to go on, or 0.
    """
    n_found = 0
    for _ in range(len(found)):
        value = key ^ np.int64(flips)
        group = directory[first_group + (value >> _GROUP_SHIFT)]
        # Written in any case and kept if it occurs: a branch would often be mispredicted.
        found[n_found] = value
        n_found += np.int64((group >> np.uint64(value & _BIT_MASK)) & _ONE)
        if flips == last_flips:
            return n_found, np.uint64(0)
        flips = _next_flips(flips)
    return n_found, flips


@_jit
def _find_buckets(
    directory, n_before, first_group, starts, first_start, entries, first_entry, words, n_words, buckets, stops,
    n_buckets,
):  # fmt: skip
    """Turn values of a substring into ranges of entries; return the number of entries.

    In rounds, so that many reads from memory are on their way at once.
    """
    for bucket in range(n_buckets):
        value = buckets[bucket]
        group = first_group + (value >> _GROUP_SHIFT)
        lower = (_ONE << np.uint64(value & _BIT_MASK)) - _ONE
        buckets[bucket] = first_start + np.int64(n_before[group]) + population_count(directory[group] & lower)
        _prefetch(starts, buckets[bucket])
    n_entries = 0
    for bucket in range(n_buckets):
        start = buckets[bucket]
        buckets[bucket], stops[bucket] = starts[start], starts[start + 1]
        n_entries += stops[bucket] - buckets[bucket]
        if first_entry == 0:
            _prefetch(words, buckets[bucket] * n_words)
        else:
            _prefetch(entries, first_entry + buckets[bucket])
    return n_entries


@_jit
def _gather(buckets, stops, bucket, n_buckets, entries, first_entry, words, n_words, candidates):
    """Fill up `candidates` with the slots that some buckets hold, which are emptied from the front on.

    Returns the number of candidates and the first bucket that is not empty.
    """
    n_candidates = 0
    while bucket < n_buckets and n_candidates < len(candidates):
        first = buckets[bucket]
        last = min(stops[bucket], first + len(candidates) - n_candidates)
        for entry in range(first, last):
            # The codes are in order of the first table.
            slot = entry if first_entry == 0 else np.int64(entries[first_entry + entry])
            _prefetch(words, slot * n_words)
            candidates[n_candidates] = slot
            n_candidates += 1
        buckets[bucket] = last
        bucket += last == stops[bucket]
    return n_candidates, bucket


@_jit
def _keep_near(words, n_words, query_words, first_word, candidates, n_candidates, bound, slots, distances):
    """Compare a query with its candidates and keep those up to a bound; return their number."""
    kept = 0
    if n_words == 1:
        query = query_words[first_word]
        for candidate in range(n_candidates):
            slot = candidates[candidate]
            distance = population_count(words[slot] ^ query)
            slots[kept] = slot
            distances[kept] = distance
            kept += distance <= bound
    else:
        for candidate in range(n_candidates):
            slot = candidates[candidate]
            first = slot * n_words
            # Two words at a time: a loop over single words would be turned into vectors that take longer.
            distance = population_count(words[first] ^ query_words[first_word]) if n_words % 2 else 0
            for word in range(n_words % 2, n_words, 2):
                distance += population_count(words[first + word] ^ query_words[first_word + word])
                distance += population_count(words[first + word + 1] ^ query_words[first_word + word + 1])
            slots[kept] = slot
            distances[kept] = distance
            kept += distance <= bound
    return kept


@_jit
def _drop_seen(words, n_words, query_words, first_word, masks, seen, slots, distances, n_slots):
    """Drop the codes that another substring has led to already; return how many stay."""
    kept = 0
    for item in range(n_slots):
        code = slots[item] * n_words
        was_seen = False
        for table in range(len(seen)):
            if seen[table] >= 0:
                # A substring lies in one word or two.
                word = np.int64(masks[table, 0])
                distance = population_count((words[code + word] ^ query_words[first_word + word]) & masks[table, 1])
                if masks[table, 2] > 0:
                    different = words[code + word + 1] ^ query_words[first_word + word + 1]
                    distance += population_count(different & masks[table, 2])
                was_seen |= distance <= seen[table]
        slots[kept] = slots[item]
        distances[kept] = distances[item]
        kept += not was_seen
    return kept


@_jit
def _take(slots, distances, n_slots, positions, n_neighbors, histogram, bound, n_below, hits, n_hits):
    """Add codes to the hits, and lower the bound as soon as enough are known to be below it.

    Codes at the bound are hits too, because they do not come in order of position.

    Returns the bound, the number of codes below it, and the number of hits.
    """
    for item in range(n_slots):
        distance = distances[item]
        hits[n_hits] = distance << _POSITION_BITS | slots[item]
        n_hits += distance <= bound
        _prefetch(positions, slots[item])
        histogram[distance] += 1
        n_below += distance < bound
        while n_below >= n_neighbors:
            bound -= 1
            n_below -= histogram[bound]
    return bound, n_below, n_hits


@_jit
def _resolve(hits, n_resolved, n_hits, positions, limit):
    """Turn the slots of the newer hits into positions, and drop the hits from `limit` on; return how many stay."""
    kept = 0
    for hit in range(n_hits):
        key = hits[hit]
        if hit >= n_resolved:
            key = (key & ~_POSITION_MASK) | np.int64(positions[key & _POSITION_MASK])
        hits[kept] = key
        kept += key < limit
    return kept


@_jit
def _sort(keys, n_keys, n_positions, n_distances):
    """Sort hits, whose positions and distances are less than given."""
    if n_keys < _FEWEST_FOR_RADIX_SORT:
        for item in range(1, n_keys):
            key, place = keys[item], item
            while place > 0 and keys[place - 1] > key:
                keys[place] = keys[place - 1]
                place -= 1
            keys[place] = key
        return
    sorted_keys, places = np.empty(n_keys, dtype=np.int64), np.empty(256, dtype=np.int64)
    for first_bit, n_values in ((0, n_positions), (_POSITION_BITS, n_distances)):
        shift = first_bit
        while (n_values - 1) >> (shift - first_bit) > 0:
            places[:] = 0
            for item in range(n_keys):
                places[(keys[item] >> shift) & 255] += 1
            place = 0
            for digit in range(256):
                place, places[digit] = place + places[digit], place
            for item in range(n_keys):
                digit = (keys[item] >> shift) & 255
                sorted_keys[places[digit]] = keys[item]
                places[digit] += 1
            # Numba takes seconds to compile an assignment of one slice to another.
            for item in range(n_keys):
                keys[item] = sorted_keys[item]
            shift += 8


@_jit
def _longer(array, size):
    longer = np.empty(size, dtype=array.dtype)
    for item in range(len(array)):
        longer[item] = array[item]
    return longer


@entry_jit
def search_tables(
    words, n_words, entries, directory, n_before, starts, first_starts, masks, length, n_ways, query_words,
    n_neighbors, radius, budget, counts, distances, positions,
):  # fmt: skip
    """Find the nearest codes of each query, none beyond a radius.

    Fills `counts`, with -1 for queries that would exceed the budget, and returns distances and positions of all others
    one after the other, in the arrays given if these are long enough, and their number.
    """
    n_queries, n_tables = len(counts), len(first_starts)
    n_codes, n_groups, n_bits = len(words) // n_words, len(directory) // n_tables, 64 * n_words
    buckets, stops = np.empty(_CHUNK, dtype=np.int64), np.empty(_CHUNK, dtype=np.int64)
    candidates, slots = np.empty(_CHUNK, dtype=np.int64), np.empty(_CHUNK, dtype=np.int64)
    near = np.empty(_CHUNK, dtype=np.int64)
    hits, histogram = np.empty(8 * _CHUNK, dtype=np.int64), np.empty(n_bits + 1, dtype=np.int64)
    keys, seen = np.empty(n_tables, dtype=np.int64), np.empty(n_tables, dtype=np.int64)
    seconds_of_scan = n_codes * _SECONDS_PER_SCANNED
    seconds_per_candidate = SECONDS_PER_CANDIDATE + n_words * SECONDS_PER_WORD
    n_found = 0
    for query in range(n_queries):
        first_word = query * n_words
        for table in range(n_tables):
            keys[table] = _substring(query_words, first_word, table * length, length)
        histogram[:] = 0
        seen[:] = -1
        # All codes up to the distance `covered` were seen; those up to `bound` are sought, `n_below` of them nearer.
        covered, bound, n_below = -1, radius, 0
        n_hits, n_resolved, limit = 0, 0, (radius + 1) << _POSITION_BITS
        seconds = SECONDS_PER_QUERY
        while covered < bound and seconds <= budget:
            n_flipped, table = divmod(covered + 1, n_tables)
            seconds_of_probes = n_ways[n_flipped] * SECONDS_PER_PROBE
            scans = seconds + seconds_of_probes >= seconds_of_scan
            if scans:
                # As cheap as to go on, and the last step: compare all codes in order, found before or not.
                seconds += seconds_of_scan
                table, n_hits, n_resolved, n_below = 0, 0, 0, 0
                histogram[:] = 0
                seen[:] = -1
            else:
                seconds += seconds_of_probes
            # This substring leads to what differs in more of its bits than before, so it need not be compared.
            seen[table] = -1
            flips = (_ONE << np.uint64(n_flipped)) - _ONE
            last_flips = flips << np.uint64(length - n_flipped)
            goes_on = True
            while goes_on and covered < bound and seconds <= budget:
                if scans:
                    n_buckets, buckets[0], stops[0] = 1, 0, n_codes
                    goes_on = False
                else:
                    n_buckets, flips = _probe(directory, table * n_groups, keys[table], flips, last_flips, buckets)
                    goes_on = flips != 0
                    n_entries = _find_buckets(
                        directory, n_before, table * n_groups, starts, first_starts[table], entries, table * n_codes,
                        words, n_words, buckets, stops, n_buckets,
                    )  # fmt: skip
                    seconds += n_entries * seconds_per_candidate
                bucket = 0
                while bucket < n_buckets and covered < bound and seconds <= budget:
                    n_candidates, bucket = _gather(
                        buckets, stops, bucket, n_buckets, entries, table * n_codes, words, n_words, candidates
                    )
                    n_near = _keep_near(
                        words, n_words, query_words, first_word, candidates, n_candidates, bound, slots, near
                    )
                    seconds += n_near * SECONDS_PER_NEAR
                    if covered >= 0:
                        n_near = _drop_seen(words, n_words, query_words, first_word, masks, seen, slots, near, n_near)
                    bound, n_below, n_hits = _take(
                        slots, near, n_near, entries, n_neighbors, histogram, bound, n_below, hits, n_hits
                    )
                    if n_hits > len(hits) - _CHUNK:
                        limit = min(limit, (bound + 1) << _POSITION_BITS)
                        n_hits = n_resolved = _resolve(hits, n_resolved, n_hits, entries, limit)
                        if n_hits > len(hits) // 2 and n_hits > 2 * n_neighbors:
                            # Many are at the same distance; only those of the first positions can be the nearest.
                            _sort(hits, n_hits, n_codes, n_bits + 1)
                            n_hits = n_resolved = n_neighbors
                            limit = hits[n_neighbors - 1] + 1
                        elif n_hits > len(hits) // 2:
                            hits = _longer(hits, 2 * len(hits))
            if seconds <= budget:
                covered = bound if scans else covered + 1
                seen[table] = n_flipped
        if covered < bound:
            counts[query] = -1
            continue
        limit = min(limit, (bound + 1) << _POSITION_BITS)
        n_hits = _resolve(hits, n_resolved, n_hits, entries, limit)
        _sort(hits, n_hits, n_codes, n_bits + 1)
        n_hits = min(n_hits, n_neighbors)
        if n_found + n_hits > len(distances):
            size = max(2 * len(distances), n_found + n_hits)
            distances, positions = _longer(distances, size), _longer(positions, size)
        for hit in range(n_hits):
            distances[n_found + hit] = hits[hit] >> _POSITION_BITS
            positions[n_found + hit] = hits[hit] & _POSITION_MASK
        n_found += n_hits
        counts[query] = n_hits
    return distances, positions, n_found
