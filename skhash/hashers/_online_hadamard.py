"""Online hashing with a codebook of Hadamard rows."""

import numpy as np

from ..centers import hadamard_centers
from ._online import OnlineHasher


class OnlineHadamardHash(OnlineHasher):
    r"""Learn codes online that aim at a row of a Hadamard matrix for each class.

    Classes have codewords :math:`c_y \in \{-1, +1\}^K`, given out when a class comes for the first time. Stochastic
    gradients bring the outputs of a linear map close to them,

    .. math:: \min_W \sum_i \lVert \tanh(W' x_i) - c_{y_i} \rVert^2, \qquad
              W \leftarrow W - \eta \, x_i \left[ (F_i - c_{y_i}) \odot (1 - F_i \odot F_i) \right]', \quad
              F_i = \tanh(W' x_i),

    and the bits are :math:`[W' (x - \mu) \ge 0]`. Rows are centred by the mean :math:`\mu` of all rows so far and
    brought to unit length.

    The Hadamard matrix has as many rows as the smallest power of two that is not below the code length and the number
    of classes known at first. Where that is more than the code length, random hyperplanes shorten its rows:
    :math:`c = \mathrm{sign}(G' h)` with a Gaussian matrix :math:`G`. Rows and negative rows are given out in random
    order; any two of them are at least half of their bits apart before they are shortened.

    Parameters
    ----------
    n_bits : int, default=32
        Code length :math:`K`, with no upper limit.

    learning_rate : float, default=0.2
        :math:`\eta`.

    batch_size : int, default=1
        Rows whose gradients are averaged for a step.

    max_iter : int, default=1
        How often to go over the rows of each call.

    random_state : int, RandomState instance or None, default=None
        Seed of the codewords, of the first W and of the order of the rows of a call.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes seen so far or named, sorted.

    codewords_ : ndarray of shape (n_classes, n_bits), dtype int8
        Codewords of `classes_`, of -1 and +1.

    components_ : ndarray of shape (n_bits, n_features)
        :math:`W'`.

    mean_ : ndarray of shape (n_features,)
        Mean of the training features.

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
    MutualInformationHash : Decides by itself when codes change.

    Notes
    -----
    Stored codes: a new class takes a free codeword, and all others stay as they are, bit for bit. So a new class is no
    reason to hash a database again: its codes and those to come are drawn to the same codewords. But W moves with
    every call of `partial_fit`, by little when many rows have been seen, and codes of the same image differ by the
    bits that it moved across 0. And W forgets: after thousands of rows without a class, new images of it are hashed
    worse, whether the database is hashed again or not. Where classes arrive one after the other, mix rows of earlier
    ones into the chunks.

    With 2R codewords for R rows, a stream may bring more classes than there are. Name all of them by `classes` in
    the first call, and the matrix is large enough.

    A row with several labels aims at the mean of their codewords. Rows without a label only count for the mean.

    Departures from the paper: rows are centred and of unit length; negative rows are given out, too; rows of one call
    are taken in random order.

    References
    ----------
    M. Lin, R. Ji, H. Liu and Y. Liu, "Supervised online hashing via Hadamard codebook learning", ACM MM 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skhash import OnlineHadamardHash
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = OnlineHadamardHash(n_bits=16, random_state=0)
    >>> for rows in np.array_split(np.arange(len(X)), 4):
    ...     hasher = hasher.partial_fit(X[rows], y[rows])
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {**OnlineHasher._parameter_constraints}

    def __init__(self, n_bits=32, *, learning_rate=0.2, batch_size=1, max_iter=1, random_state=None):
        self.n_bits = n_bits
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        order = 2 ** (n_bits - 1).bit_length()
        # All rows of a Hadamard matrix and their negatives, as numbers of one byte; to be shortened, of eight.
        words = 2 * order**2 * (1 if order == n_bits else 8)
        return max(words, super()._fit_bytes(n_bits, X))

    def _begin(self, X, targets, random):
        n_classes = len(targets.classes)
        self._free_codewords = _codewords(n_classes, self.n_bits, random)
        self.codewords_ = np.empty((0, self.n_bits), dtype=np.int8)
        self._add_classes(np.arange(n_classes))

    def _add_classes(self, positions):
        n_classes = len(self.codewords_) + len(positions)
        if len(positions) > len(self._free_codewords):
            raise ValueError(
                f"OnlineHadamardHash: {n_classes} classes exceed the {n_classes - len(positions)} known and the "
                f"{len(self._free_codewords)} codewords left; call fit to start again, or name all classes by "
                "`classes` in the first call of partial_fit."
            )
        codewords = np.empty((n_classes, self.n_bits), dtype=np.int8)
        codewords[np.delete(np.arange(n_classes), positions)] = self.codewords_
        codewords[positions] = self._free_codewords[: len(positions)]
        self.codewords_, self._free_codewords = codewords, self._free_codewords[len(positions) :]

    def _step(self, rows, indicators):
        targets = indicators @ self.codewords_ / indicators.sum(axis=1, keepdims=True)
        self._learned -= self.learning_rate * _gradient(self._learned, rows, targets)


def _codewords(n_classes, n_bits, random):
    """Draw rows and negative rows of a Hadamard matrix that is large enough, shortened to `n_bits` if it is larger."""
    order = 1
    while order < max(n_bits, n_classes):
        order *= 2
    words = hadamard_centers(2 * order, order, random_state=random)
    if order == n_bits:
        return words
    return np.where(words @ random.standard_normal((order, n_bits)) >= 0, 1, -1).astype(np.int8)


def _gradient(weights, rows, targets):
    """Compute half the gradient of ``||tanh(X W) - C||^2 / n``."""
    outputs = np.tanh(rows @ weights)
    return rows.T @ ((outputs - targets) * (1 - outputs**2)) / len(rows)
