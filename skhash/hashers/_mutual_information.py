"""Online hashing with mutual information."""

from numbers import Integral, Real

import numpy as np

from .._memory import check_allocation
from .._sklearn import Interval
from ._online import OnlineHasher

# Probabilities below this count as this inside a logarithm.
_SMALLEST_PROBABILITY = 1e-12


class MutualInformationHash(OnlineHasher):
    r"""Learn codes online whose distances tell most about relevance, and change them only when that pays.

    A reservoir holds random rows of all seen. For a row with relaxed code :math:`\phi = \tanh(\tfrac{A}{2} W' x)`,
    those of the reservoir have distances :math:`d = \tfrac{1}{2} (K - \phi' \phi_r)` from 0 to :math:`K`, and are
    relevant (+) if they share a class with it, else not (-). Stochastic gradients raise the mutual information of
    distance and relevance,

    .. math:: I = H(D) - p^+ H(D | +) - p^- H(D | -)

    in bits, of histograms with centres :math:`0, \Delta, 2 \Delta, \ldots, K`, where a row adds to a centre :math:`c`
    the triangular pulse :math:`\max(0, 1 - |d - c| / \Delta)`; :math:`p^+, p^-` are the shares of relevant rows and
    others. The codes of the reservoir count as constants.

    At the end of each call, the mutual information of the reservoir's binary codes is computed with the hash functions
    learned so far, and with those in use. Only if the former is larger by more than `threshold`, the learned ones
    come into use: the trigger to update the hash table.

    Parameters
    ----------
    n_bits : int, default=32
        Code length :math:`K`, with no upper limit.

    reservoir_size : int, default=200
        Rows in the reservoir, at most.

    threshold : float, default=0.0
        Gain of mutual information, in bits, above which codes change. Infinity keeps those of the first call.

    n_bins : int, default=16
        Number of steps :math:`\Delta` from 0 to :math:`K`.

    slope : float, default=10.0
        :math:`A`, slope of the relaxed codes.

    learning_rate : float, default=10.0
        Step along the gradient; for the average of ten rows, this is the authors' step of 1 for each.

    batch_size : int, default=10
        Rows whose gradients are averaged for a step.

    max_iter : int, default=1
        How often to go over the rows of each call.

    random_state : int, RandomState instance or None, default=None
        Seed of the first W, of the reservoir and of the order of the rows of a call.

    Attributes
    ----------
    n_updates_ : int
        How often the hash functions in use have changed, the first call included. While it stays the same, so do all
        codes: hash a database again when it has grown.

    gains_ : list of float
        For each call after the first, the mutual information of the reservoir's codes by the learned hash functions,
        less that by those in use before.

    classes_ : ndarray of shape (n_classes,)
        Classes seen so far or named, sorted.

    components_ : ndarray of shape (n_bits, n_features)
        :math:`W'` in use.

    mean_ : ndarray of shape (n_features,)
        Mean of the features seen when the hash functions in use were learned.

    n_iter_ : int
        How often the rows of the last call were gone over.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    OnlineHadamardHash : Codewords of classes as targets.

    Notes
    -----
    Stored codes: they stay valid, bit for bit, while `n_updates_` stays the same, also when new classes come. Then all
    change at once.

    Rows without a label only count for the mean. In memory are the rows of the reservoir and one block of the chunk.

    Departures from the paper: rows are centred by the mean of all rows so far; gradients of a few rows are averaged, so
    that the reservoir is projected once for all of them.

    References
    ----------
    F. Cakir, K. He, S. A. Bargal and S. Sclaroff, "MIHash: online hashing with mutual information", ICCV 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skhash import MutualInformationHash
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = MutualInformationHash(n_bits=16, threshold=0.01, random_state=0)
    >>> for rows in np.array_split(np.arange(len(X)), 10):
    ...     hasher = hasher.partial_fit(X[rows], y[rows])
    >>> hasher.n_updates_ < 10
    True
    """

    _parameter_constraints: dict = {
        **OnlineHasher._parameter_constraints,
        "reservoir_size": [Interval(Integral, 2, None, closed="left")],
        "threshold": [Interval(Real, 0, np.inf, closed="both")],
        "n_bins": [Interval(Integral, 1, None, closed="left")],
        "slope": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        n_bits=32,
        *,
        reservoir_size=200,
        threshold=0.0,
        n_bins=16,
        slope=10.0,
        learning_rate=10.0,
        batch_size=10,
        max_iter=1,
        random_state=None,
    ):
        self.n_bits = n_bits
        self.reservoir_size = reservoir_size
        self.threshold = threshold
        self.n_bins = n_bins
        self.slope = slope
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.random_state = random_state

    def _begin(self, X, targets, random):
        self.n_updates_, self.gains_ = 0, []
        # Histograms of the distances of a batch.
        what = f"histograms of n_bins={self.n_bins} for batches of {self.batch_size} rows"
        check_allocation("MutualInformationHash", 16 * self.n_bins * self.batch_size, what, "lower n_bins")
        # The first gradients need some rows to measure distances to. Infinite keys give way to all others.
        first = random.permutation(targets.labelled)[: -(-self.reservoir_size // 10)]
        self._keys = np.full(len(first), np.inf)
        self._reservoir = self._rows(X, first)
        self._reservoir_indicators = targets.indicators_of(first)

    def _add_classes(self, positions):
        n_rows, n_classes = self._reservoir_indicators.shape
        indicators = np.zeros((n_rows, n_classes + len(positions)), dtype=np.float32)
        indicators[:, np.delete(np.arange(indicators.shape[1]), positions)] = self._reservoir_indicators
        self._reservoir_indicators = indicators

    def _step(self, rows, indicators):
        relevant = indicators @ self._reservoir_indicators.T > 0
        relaxed, references = (
            np.tanh(self.slope / 2 * (some @ self._learned)) for some in (rows, self._unit(self._reservoir))
        )
        distances = (self.n_bits - relaxed @ references.T) / 2
        by_distance = _information_gradient(distances, relevant, self.n_bits, self.n_bins)
        by_output = by_distance @ references * (-self.slope / 4) * (1 - relaxed**2)
        self._learned += self.learning_rate * (rows.T @ by_output) / len(rows)

    def _remember(self, rows, indicators, random):
        """Sample the reservoir: the rows with the smallest of random keys are a uniform sample of all."""
        keys = np.concatenate([self._keys, random.random_sample(len(rows))])
        kept = np.argsort(keys, kind="stable")[: self.reservoir_size]
        if (kept >= len(self._keys)).any():
            self._keys = keys[kept]
            self._reservoir = np.concatenate([self._reservoir, rows])[kept]
            self._reservoir_indicators = np.concatenate([self._reservoir_indicators, indicators])[kept]

    def _after_call(self):
        drawn = np.isfinite(self._keys)
        self._keys, self._reservoir = self._keys[drawn], self._reservoir[drawn]
        self._reservoir_indicators = self._reservoir_indicators[drawn]
        if self.n_updates_ > 0:
            learned = (self._reservoir - self._statistics.mean) @ self._learned
            self.gains_.append(self._information(learned) - self._information(self._project_rows(self._reservoir)))
            if self.gains_[-1] <= self.threshold:
                return
        self._use()
        self.n_updates_ += 1

    def _information(self, projections):
        """Compute the mean mutual information of the reservoir's binary codes, each row against all others."""
        signs = np.where(projections >= 0, 1.0, -1.0)
        others = ~np.eye(len(signs), dtype=bool)
        relevant = self._reservoir_indicators @ self._reservoir_indicators.T > 0
        distances = (self.n_bits - signs @ signs.T) / 2
        near, far = (
            _histograms(distances, others & counted, self.n_bits, self.n_bits) for counted in (relevant, ~relevant)
        )
        n_near, n_far = near.sum(axis=1, keepdims=True), far.sum(axis=1, keepdims=True)
        conditional = n_near * _entropies(near) + n_far * _entropies(far)
        return float((_entropies(near + far) - conditional / np.maximum(n_near + n_far, 1)).mean())


def _nearest_centres(distances, n_bits, n_bins):
    """Return the centre below each distance, and the share of its pulse that goes to the one above."""
    steps = np.clip(distances * (n_bins / n_bits), 0, n_bins)
    below = np.minimum(steps.astype(np.intp), n_bins - 1)
    return below, steps - below


def _histograms(distances, counted, n_bits, n_bins):
    """Add up the triangular pulses of each row of distances, of shape (n_rows, n_bins + 1)."""
    below, share = _nearest_centres(distances, n_bits, n_bins)
    places = below + (n_bins + 1) * np.arange(len(below))[:, None]
    size = len(below) * (n_bins + 1)
    sums = np.bincount(places.ravel(), ((1 - share) * counted).ravel(), size)
    sums += np.bincount((places + 1).ravel(), (share * counted).ravel(), size + 1)[:size]
    return sums.reshape(len(below), n_bins + 1)


def _entropies(sums):
    """Compute the entropy of each histogram in bits, 0 for an empty one, of shape (n_rows, 1)."""
    return -np.sum(_probabilities(sums) * _log_probabilities(sums), axis=1, keepdims=True)


def _probabilities(sums):
    return sums / np.maximum(sums.sum(axis=1, keepdims=True), _SMALLEST_PROBABILITY)


def _log_probabilities(sums):
    return np.log2(np.maximum(_probabilities(sums), _SMALLEST_PROBABILITY))


def _information_gradient(distances, relevant, n_bits, n_bins):
    r"""Compute the derivatives of the mutual information of each row by its distances.

    A relevant row moves mass between the two centres next to its distance. By the mass at centre l, the derivative is
    ``(log p(l | +) - log p(l)) / n``: all that is constant over centres cancels.
    """
    near, far = (_histograms(distances, counted, n_bits, n_bins) for counted in (relevant, ~relevant))
    below, _ = _nearest_centres(distances, n_bits, n_bins)
    total = _log_probabilities(near + far)
    by_step = [
        np.take_along_axis(np.diff(_log_probabilities(sums) - total, axis=1), below, axis=1) for sums in (near, far)
    ]
    by_step = np.where(relevant, *by_step)
    return by_step * (n_bins / n_bits / distances.shape[1])
