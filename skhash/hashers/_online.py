"""The flow that supervised hashers with stochastic gradients share: first rows, more rows, new classes."""

from abc import ABCMeta, abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state, gen_batches

from .._labels import encode_labels
from .._sklearn import Interval, fit_context
from .._validation import shown
from ._base import SupervisedHasher, linear_projections
from ._blocks import block_of, float_dtype, single_threaded_blas
from ._statistics import RunningStatistics, overflow_error

# Rows that are in memory as floats at a time.
_BLOCK_ROWS = 1024
# Features above this overflow when they are squared and added up.
_LARGEST = 1e150


class OnlineHasher(SupervisedHasher, metaclass=ABCMeta):
    """Base of hashers that learn ``sign((x - mean) W)`` from one labelled batch after the other.

    A subclass supplies ``_begin(X, targets, random)``, which makes the state that learning goes on from, without W,
    ``_add_classes(positions)``, which makes room for new classes, and ``_step(rows, indicators)``, which moves
    ``_learned``, the matrix W. Rows come to it centred by the mean of all rows so far, and of unit length.
    """

    _parameter_constraints: dict = {
        **SupervisedHasher._parameter_constraints,
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    @abstractmethod
    def _begin(self, X, targets, random):
        """Make the state of a hasher that has seen no rows."""

    @abstractmethod
    def _add_classes(self, positions):
        """Make room for new classes, which come to stand at these positions of `classes_`."""

    @abstractmethod
    def _step(self, rows, indicators):
        """Learn from a batch."""

    def _remember(self, rows, indicators, random):
        """Keep what is needed of the rows of a batch, as they are, after the step on them."""

    def _after_call(self):
        """Act when all rows of a call have been seen."""
        self._use()

    def _fit_bytes(self, n_bits, X):
        # W, and its transpose.
        return 2 * 8 * n_bits * X.shape[1]

    def _fit_labelled(self, X, targets):
        self._check_magnitude(X)
        self._statistics = RunningStatistics.from_rows(X, with_scatter=False)
        random = check_random_state(self.random_state)
        self._seed = random.randint(2**31 - 1)
        directions = random.standard_normal((self.n_bits, X.shape[1]))
        self._learned = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T.copy()
        self._begin(X, targets, random)
        self._learn(X, targets)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, classes=None):
        """Go on learning with more rows, once over them for each of `max_iter`.

        The class says what becomes of stored codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More training features.

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Their labels, as in `fit`. Classes that were not seen before are added, except to indicators.

        classes : array-like of shape (n_classes,), default=None
            Classes that may occur in this and later calls; those of `y` that occur by default.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        ValueError
            As in `fit`, or if `n_bits` was changed since the first call, or `y` is of another kind than before.
        """
        if not hasattr(self, "n_bits_"):
            return self._fit_first(X, y, classes)
        self._check_same_n_bits()
        X = self._check_more_rows(X)
        known = self._known_classes(y, classes)
        targets = self._encode_labels(X, y, known)
        self._check_magnitude(X)
        if len(known) > len(self.classes_):
            self._add_classes(np.flatnonzero(~np.isin(known, self.classes_)))
            self.classes_ = known
        self._statistics = self._statistics.merge(RunningStatistics.from_rows(X, with_scatter=False))
        self._learn(X, targets)
        return self

    def _known_classes(self, y, classes):
        """Merge the classes so far with those of new labels."""
        if np.ndim(y) == 2:
            return self.classes_
        new = encode_labels(type(self).__name__, y, classes).classes
        if (new.dtype.kind in "US") != (self.classes_.dtype.kind in "US"):
            raise ValueError(
                f"{type(self).__name__}: y holds the class {shown(new[0].item())}, but the classes so far are such as "
                f"{shown(self.classes_[0].item())}; use one type."
            )
        return np.union1d(self.classes_, new)

    def _check_magnitude(self, X):
        """Refuse what would overflow before anything is learned from it."""
        if max(float(X.max()), -float(X.min())) > _LARGEST:
            raise overflow_error(self)

    def _learn(self, X, targets):
        # Drawn from the seed and the number of rows seen, so that a refused call leaves no trace.
        random = np.random.RandomState([self._seed, self._statistics.n_samples % 2**32])
        block_rows = max(_BLOCK_ROWS // self.batch_size, 1) * self.batch_size
        self._dtype = float_dtype(X)
        with single_threaded_blas():
            for iteration in range(self.max_iter):
                order = random.permutation(targets.labelled)
                for block in gen_batches(len(order), block_rows):
                    rows, indicators = self._rows(X, order[block]), targets.indicators_of(order[block])
                    units = self._unit(rows)
                    for batch in gen_batches(len(rows), self.batch_size):
                        self._step(units[batch], indicators[batch])
                        if iteration == 0:
                            self._remember(rows[batch], indicators[batch], random)
            self._after_call()
        self.n_iter_ = self.max_iter

    def _rows(self, X, positions):
        return block_of(X, positions).astype(np.float64)

    def _unit(self, rows):
        """Centre rows by the mean so far, and bring those that differ from it to unit length."""
        centred = rows - self._statistics.mean
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        return centred / np.where(lengths > 0, lengths, 1)

    def _use(self):
        """Let `transform` use what has been learned."""
        self.mean_ = self._statistics.mean.astype(self._dtype)
        self._weights = self._learned.astype(self._dtype)
        self._offsets = self._statistics.mean @ self._weights
        self.components_ = np.ascontiguousarray(self._weights.T)

    def _project_rows(self, X):
        return linear_projections(X, self._weights, self._offsets)
