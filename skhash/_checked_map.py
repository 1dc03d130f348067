"""An array that is mapped from a file, whose blocks are verified when they are first touched."""

import zlib

import numpy as np


class CheckedMap:
    """A read-only array in a file, read where it lies, of which no byte is used before its checksum was compared.

    Rows are read by an index, a slice, a mask or an array of rows; :func:`numpy.asarray` verifies what is left and
    gives the whole array without a copy. Threads may share a map. Pickles hold the numbers.

    Parameters
    ----------
    array : ndarray of at least one dimension
        C-contiguous view of the file.

    checksums : ndarray of shape (n_blocks,), dtype uint32
        The crc32 of each block of the array's bytes.

    block_bytes : int
        Bytes of a block; the last one may be shorter.

    refuse : callable
        Called with the number of a block whose checksum differs; raises the error.
    """

    def __init__(self, array, checksums, block_bytes, refuse):
        self._array = array
        self._bytes = array.reshape(-1).view(np.uint8)
        self._row_bytes = array.nbytes // max(1, len(array))
        self._checksums, self._block_bytes, self._refuse = checksums, block_bytes, refuse
        self._verified = np.zeros(len(checksums), dtype=bool)

    @property
    def shape(self):
        return self._array.shape

    @property
    def dtype(self):
        return self._array.dtype

    @property
    def ndim(self):
        return self._array.ndim

    @property
    def size(self):
        return self._array.size

    @property
    def nbytes(self):
        return self._array.nbytes

    def __len__(self):
        return len(self._array)

    def __getitem__(self, index):
        self._verify(self._blocks_of(index[0] if isinstance(index, tuple) and index else index))
        return self._array[index]

    def __array__(self, dtype=None, copy=None):
        self.verify()
        return np.array(self._array, dtype=dtype, copy=copy)

    def __reduce__(self):
        return np.array, (np.asarray(self),)

    def __repr__(self):
        return f"<CheckedMap of shape {self.shape}, dtype {self.dtype}>"

    def verify(self):
        """Verify the blocks that were not touched yet."""
        self._verify(np.flatnonzero(~self._verified))

    def _blocks_of(self, rows):
        """Numbers of the blocks that rows lie in, which NumPy refuses later where there are no such rows."""
        if isinstance(rows, slice):
            taken = range(len(self))[rows]
            return self._span(min(taken[0], taken[-1]), max(taken[0], taken[-1])) if taken else np.arange(0)
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        elif rows.dtype.kind not in "iu":
            # Such as an ellipsis or a new axis.
            return np.arange(len(self._checksums))
        rows = np.unique(rows)
        rows = np.where(rows < 0, rows + len(self), rows)
        rows = rows[(rows >= 0) & (rows < len(self))]
        if self._row_bytes <= self._block_bytes:
            starts = rows * self._row_bytes
            return np.unique(np.concatenate([starts, starts + self._row_bytes - 1])) // self._block_bytes
        return np.concatenate([self._span(row, row) for row in rows] or [np.arange(0)])

    def _span(self, first, last):
        """Numbers of the blocks from a row to another."""
        stop = (last + 1) * self._row_bytes
        return np.arange(first * self._row_bytes // self._block_bytes, -(-stop // self._block_bytes))

    def _verify(self, blocks):
        for block in blocks[~self._verified[blocks]]:
            start = int(block) * self._block_bytes
            if zlib.crc32(self._bytes[start : start + self._block_bytes]) != self._checksums[block]:
                self._refuse(int(block))
            self._verified[block] = True
