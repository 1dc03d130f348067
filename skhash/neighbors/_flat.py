"""A database of codes in bit-sliced blocks, searched exhaustively by compiled loops."""

import math
import threading

import numpy as np

from ._bitslice import (
    BLOCK_CODES,
    BLOCK_WORDS,
    block_shape,
    chunk_bits,
    digits_of_type,
    n_counters,
    n_groups,
    padded_bits,
)
from ._flat_kernels import nearest_in_blocks, read_codes, within_radius_in_blocks, write_codes
from ._hits import UNCHECKED_HITS, RoomForHits
from ._merge import merge_nearest

_QUERIES_PER_TILE = 64
# Neighbours that the buffers of a tile hold at most, 8 bytes each and twice.
_NEIGHBORS_PER_TILE = 2**20
# From this share of a database on, neighbours are so many that taking up one that is dropped again costs most.
_MANY_NEIGHBORS = 0.03
# Codes that are transposed at once, so that a memory map is read piece by piece.
_CODES_PER_PIECE = 2**16
# Removed codes stay in their blocks until they are more than this share of all.
_MOST_REMOVED = 0.25


def is_compiled(search, n_bytes):
    """Whether this process has compiled a search, "nearest" or "within_radius", for codes of `n_bytes` bytes."""
    loops = nearest_in_blocks if search == "nearest" else within_radius_in_blocks
    n_digits = n_counters(padded_bits(8 * n_bytes))
    return any(digits_of_type(signature[0]) == n_digits for signature in loops.signatures)


class FlatIndex:
    """Codes in blocks of 512, transposed.

    A code lies in a *slot* of the blocks. Its *position* is its rank among the codes that were not removed; both are
    the same as long as none was. An index never changes: one with more or fewer codes is another that shares its
    blocks, so that searches that run on the old one are not disturbed.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes, read piece by piece.
    """

    def __init__(self, codes):
        self.n_bytes = codes.shape[1]
        self._blocks = _Blocks(padded_bits(8 * self.n_bytes))
        self._n_slots, self._removed = 0, np.empty(0, dtype=np.int64)
        self._append(codes)
        self._prepare()

    @property
    def n_samples(self):
        """Number of codes that searches find."""
        return self._n_slots - len(self._removed)

    @property
    def blocks(self):
        """The transposed codes, in the shape that tells numba the number of digits of a distance."""
        return self._blocks.array[: -(-self._n_slots // BLOCK_CODES)]

    @property
    def nbytes(self):
        """Size of the index in bytes."""
        return self.blocks.nbytes + self._valid.nbytes + self._removed.nbytes

    def extended(self, codes):
        """Return an index with more codes after those of this one.

        Parameters
        ----------
        codes : ndarray of shape (n_new, n_bytes), dtype uint8
            Packed codes.

        Returns
        -------
        index : FlatIndex
            Only the new codes were transposed.
        """
        index = self._sibling(self._n_slots, self._removed)
        index._append(codes)
        index._prepare()
        return index

    def without(self, positions):
        """Return an index with fewer codes.

        Parameters
        ----------
        positions : ndarray of shape (n_removed,), dtype int64
            Positions of the codes to remove, distinct.

        Returns
        -------
        index : FlatIndex
            The codes are passed over by searches; blocks are written anew only if many were removed.
        """
        removed = np.sort(np.concatenate([self._removed, self._slots_of(positions)]))
        index = self._sibling(self._n_slots, removed)
        if len(removed) > _MOST_REMOVED * self._n_slots:
            index = index._compacted()
        index._prepare()
        return index

    def codes(self):
        """Read the codes back from the blocks.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bytes), dtype uint8
            In order of position.
        """
        codes = np.empty((self.n_samples, self.n_bytes), dtype=np.uint8)
        start = 0
        for piece in self._pieces():
            codes[start : start + len(piece)] = piece
            start += len(piece)
        return codes

    def some_codes(self, n_codes):
        """Read some of the codes back, evenly spread over the slots, removed ones included.

        Parameters
        ----------
        n_codes : int
            About how many.

        Returns
        -------
        codes : ndarray of shape (n, n_bytes), dtype uint8
            All of the slots if they are not more than `n_codes`.
        """
        n_groups_of_64 = -(-self._n_slots // 64)
        step = max(1, self._n_slots // max(1, n_codes))
        codes = []
        for group in range(0, n_groups_of_64, step):
            codes.append(np.empty((min(64, self._n_slots - 64 * group), self.n_bytes), dtype=np.uint8))
            read_codes(self._blocks.rows(), 64 * group, codes[-1])
        return np.concatenate(codes)

    def nearest(self, query_codes, n_neighbors, rows=None, n_parts=1, run=map):
        """Find the nearest codes of each query, as `BruteIndex.nearest` does.

        Parameters
        ----------
        query_codes, n_neighbors, rows
            As there.

        n_parts : int, default=1
            Number of parts of the database that are searched apart from each other.

        run : callable, default=map
            Applies a function to each part, as :func:`map` does; that of an executor runs them on threads.

        Returns
        -------
        distances, positions : ndarray of shape (n_queries, n_neighbors)
            As there.
        """
        valid, n_valid = self._valid_words(rows), self.n_samples if rows is None else len(rows)
        n_sampled, rank = self._sample(n_neighbors, n_valid)
        distances, slots = self._nearest(query_codes, n_neighbors, valid, n_sampled, rank, n_parts, run)
        if n_sampled > 0:
            missed = distances[:, -1] > 8 * self.n_bytes
            if missed.any():
                distances[missed], slots[missed] = self._nearest(
                    query_codes[missed], n_neighbors, valid, 0, 0, n_parts, run
                )
        return distances, self._positions_of(slots)

    def within_radius(self, query_codes, radius, rows=None):
        """Find all codes within a radius of each query, as `BruteIndex.within_radius` does."""
        valid, blocks = self._valid_words(rows), self.blocks
        radius = min(int(radius), self._blocks.n_bits) if math.isfinite(radius) else self._blocks.n_bits
        counts, distances, slots, room = [], [], [], RoomForHits()
        # No queries are one empty tile.
        for start in range(0, max(1, len(query_codes)), _QUERIES_PER_TILE):
            tile = query_codes[start : start + _QUERIES_PER_TILE]

            def search_tile(most_hits, tile=tile):
                rooms = self._workspace(len(tile))
                return within_radius_in_blocks(blocks, 0, len(blocks), valid, radius, most_hits, tile, *rooms)

            found = search_tile(UNCHECKED_HITS)
            if len(tile) and found[0][0] < 0:
                most_hits = room.most_hits()
                found = search_tile(most_hits)
                if found[0][0] < 0:
                    room.refuse(most_hits)
            room.take(len(found[1]))
            for parts, part in zip((counts, distances, slots), found, strict=True):
                parts.append(part)
        return np.concatenate(counts), np.concatenate(distances), self._positions_of(np.concatenate(slots))

    def _sibling(self, n_slots, removed):
        index = object.__new__(FlatIndex)
        index.n_bytes, index._blocks, index._n_slots, index._removed = self.n_bytes, self._blocks, n_slots, removed
        return index

    def _append(self, codes):
        self._blocks = self._blocks.with_room(self._n_slots, len(codes))
        for start in range(0, len(codes), _CODES_PER_PIECE):
            piece = np.ascontiguousarray(codes[start : start + _CODES_PER_PIECE])
            write_codes(piece, self._blocks.rows(), self._n_slots + start)
        self._n_slots += len(codes)

    def _prepare(self):
        """Make what all searches of this index share."""
        self._rooms = threading.local()
        self._valid = self._words_of_slots(None)

    def _compacted(self):
        index = self._sibling(0, np.empty(0, dtype=np.int64))
        index._blocks = _Blocks(self._blocks.n_bits).with_room(0, self.n_samples)
        for piece in self._pieces():
            index._append(piece)
        return index

    def _pieces(self):
        """Yield the codes that were not removed, piece by piece."""
        alive = np.ones(self._n_slots, dtype=bool)
        alive[self._removed] = False
        for start in range(0, self._n_slots, _CODES_PER_PIECE):
            piece = np.empty((min(_CODES_PER_PIECE, self._n_slots - start), self.n_bytes), dtype=np.uint8)
            read_codes(self._blocks.rows(), start, piece)
            yield piece[alive[start : start + len(piece)]]

    def _slots_of(self, positions):
        if not len(self._removed):
            return positions
        # How many codes before each removed one were not removed.
        n_before = self._removed - np.arange(len(self._removed))
        return positions + np.searchsorted(n_before, positions, side="right")

    def _positions_of(self, slots):
        if not len(self._removed):
            return slots
        return slots - np.searchsorted(self._removed, slots)

    def _nearest(self, query_codes, n_neighbors, valid, n_sampled, rank, n_parts, run):
        blocks = self.blocks
        tile_size = max(1, min(_QUERIES_PER_TILE, len(query_codes), _NEIGHBORS_PER_TILE // n_neighbors))

        def search_part(part):
            distances = np.empty((len(query_codes), n_neighbors), dtype=np.int32)
            slots = np.empty((len(query_codes), n_neighbors), dtype=np.int64)
            first, last = (len(blocks) * bound // n_parts for bound in (part, part + 1))
            nearest_in_blocks(
                blocks, first, last, valid, n_sampled, rank, query_codes, *self._workspace(tile_size), distances, slots
            )
            return distances, slots

        if n_parts == 1:
            return search_part(0)
        return merge_nearest(list(run(search_part, range(n_parts))), n_neighbors)

    def _valid_words(self, rows):
        return self._valid if rows is None else self._words_of_slots(self._slots_of(rows))

    def _words_of_slots(self, slots):
        """One bit for each slot that may be found, in the order of the blocks; none beyond the last slot."""
        n_blocks = -(-self._n_slots // BLOCK_CODES)
        mask = np.zeros(n_blocks * BLOCK_CODES, dtype=bool)
        if slots is None:
            mask[: self._n_slots] = True
            mask[self._removed] = False
        else:
            mask[slots] = True
        words = np.packbits(mask, bitorder="little").view("<u8").astype(np.uint64, copy=False)
        return words.reshape(-1, BLOCK_WORDS)

    def _workspace(self, tile_size):
        """Make room for the tables of a chunk, and for the counters and the mask of each query of a tile.

        Kept for the next search of the same thread, as making it takes longer than searching ten thousand codes.
        """
        rooms = self._rooms.__dict__
        if tile_size not in rooms:
            n_digits = n_counters(self._blocks.n_bits)
            tables = _aligned_zeros(n_groups(chunk_bits(n_digits)) * 16 * BLOCK_WORDS)
            counters = _aligned_zeros(tile_size * (n_digits + 1) * BLOCK_WORDS)
            rooms[tile_size] = tables, counters.reshape(tile_size, n_digits + 1, BLOCK_WORDS)
        return rooms[tile_size]

    def _sample(self, n_neighbors, n_valid):
        """Choose how many blocks to sample, and the rank whose distance is taken as the first bound.

        A sample of a share p of all codes holds about p * n_neighbors of the nearest. Four standard deviations more,
        and as many again for small numbers, make it unlikely that the bound is too low.
        """
        n_blocks = -(-self._n_slots // BLOCK_CODES)
        n_sampled = min(n_blocks // 16, 16)
        if n_neighbors > _MANY_NEIGHBORS * n_valid:
            # The better bound spares more than counting some blocks twice costs.
            n_sampled = max(n_sampled, min(n_blocks // 2, 64))
        expected = n_neighbors * n_sampled / max(1, n_blocks)
        rank = math.ceil(expected + 4 * math.sqrt(expected) + 4)
        return (0, 0) if rank > n_sampled * BLOCK_CODES // 4 else (n_sampled, rank)


class _Blocks:
    """Blocks with room for more codes, shared by the indexes that grew from one another.

    Parameters
    ----------
    n_bits : int
        Code length as `padded_bits` gives it.

    n_codes : int, default=0
        For how many codes there is room.
    """

    def __init__(self, n_bits, n_codes=0):
        self.n_bits = n_bits
        n_blocks = -(-n_codes // BLOCK_CODES)
        words = _aligned_zeros(n_blocks * n_bits * BLOCK_WORDS)
        self.array = words.reshape(n_blocks, *block_shape(n_bits))
        self._n_taken = 0
        self._lock = threading.Lock()

    def rows(self):
        """The blocks in the shape (n_blocks, n_bits, 8)."""
        return self.array.reshape(len(self.array), self.n_bits, BLOCK_WORDS)

    def with_room(self, n_used, n_new):
        """Take slots after the first `n_used`, here if nobody took them before and there is room, in a copy otherwise.

        Bits are added to words that other threads may be reading, whose searches pass over these slots.
        """
        with self._lock:
            if self._n_taken == n_used and n_used + n_new <= len(self.array) * BLOCK_CODES:
                self._n_taken += n_new
                return self
        # Room for half as much again, once blocks grow, makes the cost of many additions proportional to their size.
        room = max(n_used + n_new, n_used + n_used // 2)
        blocks = _Blocks(self.n_bits, room)
        n_blocks = -(-n_used // BLOCK_CODES)
        blocks.array[:n_blocks] = self.array[:n_blocks]
        blocks._n_taken = n_used + n_new
        if n_used % BLOCK_CODES:
            blocks._clear_after(n_used)
        return blocks

    def _clear_after(self, n_used):
        """Take away what others wrote into the last block behind the slots that are used."""
        word, bit = divmod(n_used % BLOCK_CODES, 64)
        last = self.rows()[n_used // BLOCK_CODES]
        last[:, word] &= np.uint64((1 << bit) - 1)
        last[:, word + 1 :] = 0


def _aligned_zeros(n_words):
    """Words of 64 bits that begin at a multiple of 64 bytes, so that no vector crosses two cache lines."""
    room = np.zeros(n_words + 8, dtype=np.uint64)
    start = -room.ctypes.data % 64 // 8
    return room[start : start + n_words]
