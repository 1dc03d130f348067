"""A database of codes in bit-sliced blocks, searched exhaustively by compiled loops."""

import math

import numpy as np

from ._bitslice import BLOCK_CODES, BLOCK_WORDS, bits_of_type, block_shape, n_counters, n_groups
from ._flat_kernels import nearest_in_tile, transpose, within_radius_in_tile

# Code lengths that loops are compiled for; others are padded with zero bits, which add nothing to a distance.
WIDTHS = (32, 64, 128, 256, 512, 1024)

_QUERIES_PER_TILE = 64
# With fewer queries, filling the tables of a block costs more than it saves.
_FEWEST_FOR_TABLES = 6
# Neighbours that the buffers of a tile hold at most, 10 bytes each and twice.
_NEIGHBORS_PER_TILE = 2**20


def width_of(n_bytes):
    """The length that codes of `n_bytes` bytes are padded to."""
    return next(width for width in WIDTHS if width >= 8 * n_bytes)


def is_compiled(search, n_bytes):
    """Whether this process has compiled a search, "nearest" or "within_radius", for codes of `n_bytes` bytes."""
    loops = nearest_in_tile if search == "nearest" else within_radius_in_tile
    width = width_of(n_bytes)
    return any(bits_of_type(signature[0]) == width for signature in loops.signatures)


class FlatIndex:
    """Codes in blocks of 512, transposed.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes of at most 1024 bits.
    """

    def __init__(self, codes):
        self.n_samples, self.n_bytes = codes.shape
        self.width = width_of(self.n_bytes)
        self.blocks = self._empty_blocks()
        transpose(codes, self._as_rows(self.blocks), 0)
        self._all_valid = self._valid_words(slice(self.n_samples))

    def extended(self, codes):
        """Return an index with more codes after those of this one.

        Parameters
        ----------
        codes : ndarray of shape (n_new, n_bytes), dtype uint8
            Packed codes.

        Returns
        -------
        index : FlatIndex
            A copy; only the new codes were transposed.
        """
        index = object.__new__(FlatIndex)
        index.n_samples, index.n_bytes, index.width = self.n_samples + len(codes), self.n_bytes, self.width
        index.blocks = index._empty_blocks()
        index.blocks[: len(self.blocks)] = self.blocks
        transpose(codes, index._as_rows(index.blocks), self.n_samples)
        index._all_valid = index._valid_words(slice(index.n_samples))
        return index

    def nearest(self, query_codes, n_neighbors, rows=None):
        """Find the nearest codes of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        n_neighbors : int
            How many, at most the number of codes searched.

        rows : ndarray of shape (n_rows,), dtype int64, default=None
            The rows to search; all by default.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors), dtype int32
            Rising along each row.

        positions : ndarray of shape (n_queries, n_neighbors), dtype int64
            Equal distances come by rising position.
        """
        valid, n_valid = self._valid_words(rows), self.n_samples if rows is None else len(rows)
        n_queries = len(query_codes)
        distances = np.empty((n_queries, n_neighbors), dtype=np.int32)
        positions = np.empty((n_queries, n_neighbors), dtype=np.int64)
        sampled_blocks, rank = self._sample(n_neighbors, n_valid)
        tile_size = max(1, min(_QUERIES_PER_TILE, _NEIGHBORS_PER_TILE // n_neighbors))
        for tile in _tiles(n_queries, tile_size):
            found = self._nearest_tile(query_codes[tile], valid, sampled_blocks, rank, distances[tile], positions[tile])
            for missed in tile.start + np.flatnonzero(found < n_neighbors):
                one = slice(missed, missed + 1)
                self._nearest_tile(query_codes[one], valid, sampled_blocks[:0], rank, distances[one], positions[one])
        return distances, positions

    def within_radius(self, query_codes, radius, rows=None):
        """Find all codes within a radius of each query.

        Parameters
        ----------
        query_codes : ndarray of shape (n_queries, n_bytes), dtype uint8
            Packed codes.

        radius : float
            Largest distance, inclusive.

        rows : ndarray of shape (n_rows,), dtype int64, default=None
            The rows to search; all by default.

        Returns
        -------
        counts : ndarray of shape (n_queries,), dtype int64
            Number of neighbours of each query.

        distances : ndarray of shape (counts.sum(),), dtype int32
            Distances, query after query, rising within each.

        positions : ndarray of shape (counts.sum(),), dtype int64
            Equal distances come by rising position.
        """
        valid = self._valid_words(rows)
        radius = min(int(radius), self.width) if math.isfinite(radius) else self.width
        counts, distances, positions = [], [], []
        for tile in (query_codes[rows] for rows in _tiles(len(query_codes), _QUERIES_PER_TILE)):
            lookups, flips, tables, scratch = self._prepare(tile)
            owners, found_distances, found_positions = within_radius_in_tile(
                self.blocks, 0, len(self.blocks), valid, radius, lookups, flips, tables, scratch, len(tile)
            )
            order = np.lexsort((found_distances, owners))
            counts.append(np.bincount(owners, minlength=len(tile)))
            distances.append(found_distances[order])
            positions.append(found_positions[order])
        return np.concatenate(counts), np.concatenate(distances), np.concatenate(positions)

    def _empty_blocks(self):
        n_blocks = -(-self.n_samples // BLOCK_CODES)
        return _aligned_zeros(n_blocks * self.width * BLOCK_WORDS).reshape(n_blocks, *block_shape(self.width))

    def _as_rows(self, blocks):
        return blocks.reshape(len(blocks), self.width, BLOCK_WORDS)

    def _nearest_tile(self, tile, valid, sampled_blocks, rank, distances, positions):
        lookups, flips, tables, scratch = self._prepare(tile)
        n_digits = n_counters(self.width)
        sample = np.empty((len(tile), len(sampled_blocks), n_digits, BLOCK_WORDS), dtype=np.uint64)
        return nearest_in_tile(
            self.blocks, 0, len(self.blocks), valid, sampled_blocks, rank, lookups, flips, tables, scratch, sample,
            distances, positions,
        )  # fmt: skip

    def _valid_words(self, rows):
        """One bit for each position that may be found, in the order of the blocks; none beyond the last position."""
        if rows is None:
            return self._all_valid
        mask = np.zeros(len(self.blocks) * BLOCK_CODES, dtype=bool)
        mask[rows] = True
        words = np.packbits(mask, bitorder="little").view("<u8").astype(np.uint64, copy=False)
        return words.reshape(-1, BLOCK_WORDS)

    def _prepare(self, tile):
        """Turn queries into lookups or flips, and make room for tables and counters."""
        bits = np.zeros((len(tile), 3 * n_groups(self.width)), dtype=np.uint8)
        bits[:, : 8 * self.n_bytes] = np.unpackbits(tile, axis=1)
        use_tables = len(tile) >= _FEWEST_FOR_TABLES
        if use_tables:
            combinations = bits.reshape(len(tile), -1, 3) @ np.array([1, 2, 4], dtype=np.uint8)
            # A table holds 8 combinations of 2 vectors of 64 bytes.
            lookups = (np.arange(combinations.shape[1], dtype=np.uint32) * 8 + combinations) * np.uint32(128)
            flips = np.empty((0, self.width), dtype=np.int64)
        else:
            lookups = np.empty((0, n_groups(self.width)), dtype=np.uint32)
            flips = -bits[:, : self.width].astype(np.int64)
        tables = _aligned_zeros(n_groups(self.width) * 16 * BLOCK_WORDS if use_tables else 0)
        scratch = _aligned_zeros((n_counters(self.width) + 1) * BLOCK_WORDS)
        return lookups, flips, tables, scratch.reshape(-1, BLOCK_WORDS)

    def _sample(self, n_neighbors, n_valid):
        """Choose blocks to sample, evenly spread, and the rank whose distance is taken as the first bound.

        A sample of a share p of all codes holds about p * n_neighbors of the nearest. Four standard deviations more,
        and as many again for small numbers, make it unlikely that the bound is too low.
        """
        n_blocks = len(self.blocks)
        n_sampled = min(max(8, 32 * n_valid // (BLOCK_CODES * n_neighbors)), n_blocks // 16, 64)
        expected = n_neighbors * n_sampled / n_blocks
        rank = math.ceil(expected + 4 * math.sqrt(expected) + 4)
        if n_sampled == 0 or rank > n_sampled * BLOCK_CODES // 4:
            return np.empty(0, dtype=np.int64), 0
        return (np.arange(n_sampled) * n_blocks // n_sampled).astype(np.int64), rank


def _tiles(n, size):
    """Slices of at most `size`; scikit-learn's own generator checks its arguments for longer than a search takes."""
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


def _aligned_zeros(n_words):
    """Words of 64 bits that begin at a multiple of 64 bytes, so that no vector crosses two cache lines."""
    room = np.zeros(n_words + 8, dtype=np.uint64)
    start = -room.ctypes.data % 64 // 8
    return room[start : start + n_words]
