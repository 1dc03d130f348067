"""A database of codes in a memory map, searched piece by piece where it lies."""

import numpy as np

from ._hits import RoomForHits, joined_hits
from ._merge import merge_nearest

# Bytes of codes that are read at once; their index takes as much again.
PIECE_BYTES = 2**23


class StreamedIndex:
    """Codes that are read anew by each search, so that they may be larger than the memory.

    Parameters
    ----------
    codes : numpy.memmap or CheckedMap of shape (n_samples, n_bytes), dtype uint8
        Packed codes.

    make_index : callable
        Makes an index, such as `FlatIndex` or `BruteIndex`, of the codes of a piece.
    """

    def __init__(self, codes, make_index):
        self._codes = codes
        self._make_index = make_index

    def nearest(self, query_codes, n_neighbors, rows=None, n_parts=1, run=map):
        """Find the nearest codes of each query, as `BruteIndex.nearest` does.

        Parameters
        ----------
        query_codes, n_neighbors, rows
            As there; `rows` may be a mask of all of them.

        n_parts : int, default=1
            Number of parts of the database that are searched apart from each other.

        run : callable, default=map
            Applies a function to each part, as :func:`map` does; that of an executor runs them on threads.

        Returns
        -------
        distances, positions : ndarray of shape (n_queries, n_neighbors)
            As there.
        """

        def search_part(part):
            nearest = None
            for start, index, piece_rows in self._pieces(rows, part, n_parts):
                n_found = min(n_neighbors, index.n_samples if piece_rows is None else len(piece_rows))
                distances, positions = index.nearest(query_codes, n_found, piece_rows)
                # Gone before the next one is made.
                del index, piece_rows
                found = (distances, positions + start)
                nearest = found if nearest is None else merge_nearest([nearest, found], n_neighbors)
            return nearest

        parts = [part for part in run(search_part, range(n_parts)) if part is not None]
        return merge_nearest(parts, n_neighbors)

    def within_radius(self, query_codes, radius, rows=None):
        """Find all codes within a radius of each query, as `BruteIndex.within_radius` does."""
        room, pieces = RoomForHits(), []
        for start, index, piece_rows in self._pieces(rows, 0, 1):
            counts, distances, positions = index.within_radius(query_codes, radius, piece_rows)
            del index, piece_rows
            if len(positions):
                room.take(len(positions))
                positions += start
                pieces.append((counts, distances, positions))
        return joined_hits(pieces, len(query_codes))

    def _pieces(self, rows, part, n_parts):
        """Yield the first row, an index, and the rows to search of each piece that has any."""
        n_rows = max(1, PIECE_BYTES // self._codes.shape[1])
        n_pieces = -(-len(self._codes) // n_rows)
        for piece in range(n_pieces * part // n_parts, n_pieces * (part + 1) // n_parts):
            start, stop = piece * n_rows, min((piece + 1) * n_rows, len(self._codes))
            piece_rows = None
            if rows is not None:
                if rows.dtype == bool:
                    piece_rows = np.flatnonzero(rows[start:stop])
                else:
                    piece_rows = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)] - start
                if not len(piece_rows):
                    continue
            yield start, self._make_index(np.asarray(self._codes[start:stop])), piece_rows
