"""What was done to a database since it was made, to be carried out at once when it is searched."""

import copy
from functools import reduce

import numpy as np

from ..neighbors._ids import check_distinct, check_ids, check_known, check_unused


class Changes:
    """A search, and the codes that were added to and removed from its database since.

    A change takes time for the codes that it names, not for the database. The order of the codes and the messages of
    errors are those of `HammingNearestNeighbors.add` and `remove`.

    Parameters
    ----------
    search : HammingNearestNeighbors
        Fitted; nobody else changes it.
    """

    def __init__(self, search):
        self._owner = type(search).__name__
        self._begin(search)

    def _begin(self, search):
        self._search = search
        self._codes, self._labels, self._ids = [], [], []
        self._n_new = 0
        # Places among the new codes by id, if ids were given; counted ones tell their place.
        self._place_of_id = {}
        self._dropped = set()
        self._is_removed, self._n_removed = None, 0
        self._sorted_ids = None

    @property
    def n_samples(self):
        """Number of codes, those that were added and not those that were removed."""
        return self._search.n_samples_fit_ + self._n_new - len(self._dropped) - self._n_removed

    def check_addition(self, codes, y, ids):
        """Check codes to add, as `HammingNearestNeighbors.add` does.

        Parameters
        ----------
        codes, y, ids
            As there.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bytes), dtype uint8
            Packed codes, perhaps those of the caller.

        labels : ndarray or None
            Labels.

        ids : ndarray of shape (n_samples,), dtype int64, or None
            Names, if they are given and not counted.
        """
        codes = self._search._check_codes(codes, reset=False)
        return codes, *self._check_names(codes, y, ids)

    def check_removal(self, ids):
        """Check ids to remove, as `HammingNearestNeighbors.remove` does.

        Parameters
        ----------
        ids : int or array-like of int
            As there.

        Returns
        -------
        ids : ndarray of shape (n_ids,), dtype int64
            The same.
        """
        ids = check_ids(ids, owner=self._owner)
        check_distinct(ids, owner=self._owner)
        rows, places = self._find(ids)
        check_known(ids, (rows >= 0) | (places >= 0), owner=self._owner)
        return ids

    def add(self, codes, labels, ids):
        """Add codes that nobody writes to any more.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_bytes), dtype uint8
            Packed codes.

        labels : ndarray or None
            Labels.

        ids : ndarray of shape (n_samples,), dtype int64, or None
            Names.

        Raises
        ------
        TypeError, ValueError
            If they do not fit the database.
        """
        n_bytes = self._search.n_features_in_
        if not len(codes) or codes.shape[1] != n_bytes:
            raise ValueError(f"{self._owner}: got codes of shape {codes.shape}, the database's have {n_bytes} bytes.")
        labels, ids = self._check_names(codes, labels, ids)
        if ids is not None:
            self._place_of_id.update(zip(ids.tolist(), range(self._n_new, self._n_new + len(ids)), strict=True))
            self._ids.append(ids)
        if labels is not None:
            self._labels.append(labels)
        self._codes.append(codes)
        self._n_new += len(codes)

    def remove(self, ids):
        """Remove codes.

        Parameters
        ----------
        ids : ndarray of shape (n_ids,), dtype int64
            Names.

        Raises
        ------
        TypeError, ValueError
            If they do not fit the database.
        """
        ids = self.check_removal(ids)
        rows, places = self._find(ids)
        is_new = places >= 0
        self._dropped.update(places[is_new].tolist())
        for removed in ids[is_new].tolist():
            self._place_of_id.pop(removed, None)
        if self._is_removed is None:
            self._is_removed = np.zeros(self._search.n_samples_fit_, dtype=bool)
        self._is_removed[rows[~is_new]] = True
        self._n_removed += int((~is_new).sum())

    def search(self):
        """Carry the changes out.

        Returns
        -------
        search : HammingNearestNeighbors
            The caller's own.
        """
        if self._n_new or self._n_removed:
            self._begin(self._changed_search())
        return copy.copy(self._search)

    def _changed_search(self):
        search, database = copy.copy(self._search), self._search._database
        ids = self._ids_of_new()
        if self._n_removed:
            database = database.without(np.flatnonzero(self._is_removed))
        if self._n_new:
            is_kept = np.ones(self._n_new, dtype=bool)
            is_kept[list(self._dropped)] = False
            labels = _joined(self._labels)[is_kept] if self._labels else None
            ids = None if ids is None else ids[is_kept]
            database = database.extended(_joined(self._codes)[is_kept], ids, labels)
        search._database, search._n_added = database, self._search._n_added + self._n_new
        return search

    def _ids_of_new(self):
        """Names of the new codes, or None as long as all codes are named by the numbers of their rows."""
        if self._ids:
            return _joined(self._ids)
        if self._search._database.ids is None and not self._n_removed and not self._dropped:
            return None
        return np.arange(self._search._n_added, self._search._n_added + self._n_new)

    def _check_names(self, codes, y, ids):
        labels, ids = self._search._check_names(len(codes), y, ids)
        if ids is not None:
            rows, places = self._find(ids)
            check_unused(ids, ids[(rows >= 0) | (places >= 0)], owner=self._owner)
        return labels, ids

    def _find(self, ids):
        """Find rows of the database, and places among the new codes; -1 where there is none."""
        rows = self._rows_in_database(ids)
        if self._is_removed is not None:
            rows[rows >= 0] = np.where(self._is_removed[rows[rows >= 0]], -1, rows[rows >= 0])
        if self._search._ids_given:
            places = np.fromiter((self._place_of_id.get(id, -1) for id in ids.tolist()), dtype=np.int64, count=len(ids))
        else:
            places = ids - self._search._n_added
            places[(ids < self._search._n_added) | (places >= self._n_new)] = -1
            if self._dropped:
                places[[place in self._dropped for place in places.tolist()]] = -1
        return rows, places

    def _rows_in_database(self, ids):
        database = self._search._database
        n_samples = database.engine.n_samples
        if database.ids is None:
            return np.where((ids >= 0) & (ids < n_samples), ids, -1)
        if not n_samples:
            return np.full(len(ids), -1)
        if self._sorted_ids is None:
            self._sorted_ids = _sorted(np.asarray(database.ids))
        sorted_ids, order = self._sorted_ids
        places = np.minimum(np.searchsorted(sorted_ids, ids), n_samples - 1)
        rows = places if order is None else order[places]
        return np.where(sorted_ids[places] == ids, rows, -1)


def _sorted(ids):
    """Sort ids; the order is None where they are sorted."""
    if (ids[1:] > ids[:-1]).all():
        return ids, None
    order = np.argsort(ids, kind="stable")
    return ids[order], order


def _joined(arrays):
    """Join arrays to the dtype that joining them one after the other would lead to."""
    return np.concatenate(arrays, dtype=reduce(np.promote_types, (array.dtype for array in arrays)))
