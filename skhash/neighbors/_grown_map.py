"""Codes of a memory map to which others were added and from which some were removed, without reading it."""

import numpy as np


class GrownMap:
    """Codes of a map, then codes in memory, without some of both; read slice by slice.

    Parameters
    ----------
    mapped : array of shape (n_mapped, n_bytes), dtype uint8
        A map, which is left where it lies.

    added : ndarray of shape (n_added, n_bytes), dtype uint8
        Codes behind them.

    removed : ndarray of shape (n_removed,), dtype int64
        Rows of both together that are left out, rising.
    """

    def __init__(self, mapped, added, removed):
        self._mapped, self._added, self._removed = mapped, added, removed

    @classmethod
    def of(cls, codes):
        """Take a map, or one that has grown already."""
        if isinstance(codes, cls):
            return codes
        return cls(codes, np.empty((0, codes.shape[1]), dtype=np.uint8), np.empty(0, dtype=np.int64))

    @property
    def shape(self):
        return len(self._mapped) + len(self._added) - len(self._removed), self._mapped.shape[1]

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, positions):
        start, stop, _ = positions.indices(len(self))
        if stop <= start:
            return np.empty((0, self.shape[1]), dtype=np.uint8)
        first, last = self._rows_of(np.array([start, stop - 1]))
        parts = [self._mapped[first : last + 1]]
        if last >= len(self._mapped):
            parts.append(self._added[max(0, first - len(self._mapped)) : last + 1 - len(self._mapped)])
        gaps = self._removed[slice(*np.searchsorted(self._removed, [first, last]))] - first
        piece = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.delete(piece, gaps, axis=0) if len(gaps) else piece

    def __array__(self, dtype=None, copy=None):
        return np.array(self[:], dtype=dtype, copy=copy)

    def extended(self, codes):
        """Return a map with more codes behind these."""
        return GrownMap(self._mapped, np.concatenate([self._added, codes]), self._removed)

    def without(self, positions):
        """Return a map without the codes at some positions."""
        removed = np.sort(np.concatenate([self._removed, self._rows_of(positions)]))
        return GrownMap(self._mapped, self._added, removed)

    def _rows_of(self, positions):
        # How many codes before each removed one were not removed.
        n_before = self._removed - np.arange(len(self._removed))
        return positions + np.searchsorted(n_before, positions, side="right")
