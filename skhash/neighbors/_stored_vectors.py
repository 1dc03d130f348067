"""Float vectors of a database, kept beside its codes."""

import numpy as np

from ._rerank import check_vectors, compared_dtype, round_vectors


class StoredVectors:
    """Float vectors of a database, row by row as its codes.

    A memory map is kept as it is, and removed rows are only passed over. All other vectors are copied, as float32 or
    as the dtype that the map is compared in; what is added to a map is kept in memory after it. Vectors never change:
    those of a longer or shorter database are another object, so that searches that read the old one are not disturbed.

    Parameters
    ----------
    vectors : array-like of shape (n_samples, n_features)
        Real numbers.

    database : object
        What the codes that they belong to are kept in.

    name : str
        What to call them in errors.

    Attributes
    ----------
    database : object
        As given.

    dtype : numpy.dtype
        Dtype in which vectors are compared.
    """

    def __init__(self, vectors, database, *, name):
        vectors = check_vectors(vectors, name=name)
        self.database, self._name = database, name
        n_features = vectors.shape[1]
        if isinstance(vectors, np.memmap):
            self.dtype = compared_dtype(vectors.dtype)
            self._mapped, self._mapped_rows = vectors, np.arange(len(vectors))
            self._held = np.empty((0, n_features), dtype=self.dtype)
        else:
            self.dtype = np.dtype(np.float32)
            self._mapped, self._mapped_rows = None, np.arange(0)
            rounded = round_vectors(vectors, self.dtype, name=name)
            # What the caller does to the array afterwards must not change the database.
            self._held = rounded.copy() if np.may_share_memory(rounded, vectors) else rounded

    def __len__(self):
        return len(self._mapped_rows) + len(self._held)

    @property
    def shape(self):
        """Number of vectors and of features."""
        return len(self), self._held.shape[1]

    def __getitem__(self, rows):
        """Read vectors by a slice or an array of rows, in `dtype`."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        n_mapped = len(self._mapped_rows)
        in_map = rows < n_mapped
        if not in_map.any():
            return self._held[rows - n_mapped]
        vectors = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        vectors[in_map] = self._mapped[self._mapped_rows[rows[in_map]]]
        vectors[~in_map] = self._held[rows[~in_map] - n_mapped]
        return vectors

    def check(self, vectors):
        """Check vectors that are to be compared with these, or to join them.

        Parameters
        ----------
        vectors : array-like of shape (n_samples, n_features)
            Real numbers.

        Returns
        -------
        vectors : ndarray of shape (n_samples, n_features)
            The same in `dtype`.

        Raises
        ------
        ValueError
            If they are no finite matrix of this width.
        """
        vectors = check_vectors(vectors, name=self._name)
        if vectors.shape[1] != self.shape[1]:
            raise ValueError(
                f"{self._name} have {vectors.shape[1]} features, those of the database {self.shape[1]}; pass what the "
                "pipeline was fitted on."
            )
        return round_vectors(vectors, self.dtype, name=self._name)

    def extended(self, vectors, database):
        """Return the vectors of a longer database.

        Parameters
        ----------
        vectors : ndarray of shape (n_new, n_features)
            From `check`.

        database : object
            The longer database.

        Returns
        -------
        vectors : StoredVectors
            With the new ones at the end.
        """
        return self._sibling(self._mapped_rows, np.concatenate([self._held, vectors]), database)

    def without(self, removed, database):
        """Return the vectors of a shorter database.

        Parameters
        ----------
        removed : ndarray of shape (n_samples,), dtype bool
            True for those that go.

        database : object
            The shorter database.

        Returns
        -------
        vectors : StoredVectors
            The rest in the same order.
        """
        n_mapped = len(self._mapped_rows)
        return self._sibling(self._mapped_rows[~removed[:n_mapped]], self._held[~removed[n_mapped:]], database)

    def _sibling(self, mapped_rows, held, database):
        vectors = object.__new__(StoredVectors)
        vectors.database, vectors._name, vectors.dtype = database, self._name, self.dtype
        vectors._mapped, vectors._mapped_rows, vectors._held = self._mapped, mapped_rows, held
        return vectors
