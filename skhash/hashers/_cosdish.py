"""Column-sampled discrete supervised hashing."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches

from .._sklearn import Interval, StrOptions
from ._blocks import block_of, single_threaded_blas
from ._kernel import KernelHasher
from ._linear_algebra import RidgeRegression

# Times that the codes of sampled and other rows take turns for one sample of columns, as in the paper.
_ALTERNATIONS = 3

# Rows whose codes are computed at once.
_BLOCK_ROWS = 4096

# Rows sampled in each turn for each class, at least: classes without one would all be voted the same code.
_COLUMNS_PER_CLASS = 5

# Chosen on held-out training rows of CIFAR-10.
_RIDGES = {"linear": 1.0, "kernel": 0.01}


class ColumnSampledHash(KernelHasher):
    r"""Hash with discrete codes that fit sampled columns of the matrix of pairs (COSDISH).

    Learns codes :math:`B \in \{-1, +1\}^{n \times K}` of the training rows first, and functions that predict them
    after that. In each turn, random rows :math:`\Omega` are drawn, and the codes are to fit these columns of the matrix
    :math:`S` of pairs,

    .. math:: \min_B \sum_{i} \sum_{j \in \Omega} (K S_{ij} - b_i b_j')^2.

    :math:`S` is 1 where two rows share a label, and elsewhere the negative number that makes the columns sum to 0. The
    codes of the sampled rows are improved bit by bit, a binary quadratic problem in which entries are flipped one at a
    time as long as one lowers the sum. Those of the others are voted, :math:`B = \mathrm{sign}(S B_\Omega)`, where a
    vote of 0 leaves a bit as it is. A ridge regression then predicts :math:`B`.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, with no upper limit.

    classifier : {"linear", "kernel"}, default="linear"
        What predicts the codes: the features themselves, or their Gaussian kernels with some anchors.

    n_anchors : int, default=None
        Training rows that kernels are taken with, at most as many as there are; by default 1000, or all rows if there
        are fewer. Without effect on the linear classifier.

    n_columns : int, default=None
        Rows sampled in each turn, at most half of them; by default as many as there are bits, as in the paper, but no
        fewer than 5 for each class.

    ridge : float, default=None
        Ridge of the regression, in units of the mean variance of features or kernels times the number of rows; by
        default 1 for the linear classifier and 0.01 for the kernel.

    max_iter : int, default=10
        Number of turns.

    max_samples : int, default=100000
        Labelled rows learned from; of more, as many are drawn at random.

    random_state : int, RandomState instance or None, default=None
        Seed of the first codes, sampled columns, drawn rows and anchors.

    Attributes
    ----------
    objectives_ : ndarray of shape (max_iter,)
        Mean of :math:`(S_{ij} - b_i b_j' / K)^2` over the sampled columns at the end of each turn. Each turn has other
        columns, so that it may rise.

    n_iter_ : int
        Number of turns taken.

    n_columns_ : int
        Number of rows sampled in each turn.

    anchors_ : ndarray of shape (n_anchors_, n_features)
        Training rows drawn at random, unlabelled ones among them. Only with the kernel.

    n_anchors_ : int
        Number of anchors. Only with the kernel.

    width_ : float
        Standard deviation of the kernel: the mean distance of training rows to anchors. Only with the kernel.

    classes_ : ndarray of shape (n_classes,)
        Classes seen in `y`.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    KernelSupervisedHash : Pairs, bit by bit on kernels.
    SupervisedDiscreteHash : Discrete codes from classes.

    Notes
    -----
    Beside a copy of the sampled rows where there are more than `max_samples`, a fit on single labels takes a byte for
    each row and bit, and a number for each class and column: all rows of a class have the same entries in S. Of several
    labels a row, it takes a byte for each column and different set of labels. The kernel takes a number for each row
    and anchor more.

    The paper bounds the error of its randomised step for the sampled rows by twice the optimum; flipping entries, which
    the sum decides alone, has no such bound, but needs no relaxation and cannot raise the sum. With as few
    columns as bits, 16 bits and ten classes, some turns sample no row of two classes, which then get the same code;
    that is why there are more by default. Rows without a label serve as anchors, and for nothing else.

    References
    ----------
    W.-C. Kang, W.-J. Li and Z.-H. Zhou, "Column sampling based discrete supervised hashing", AAAI 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import ColumnSampledHash
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = ColumnSampledHash(n_bits=16, random_state=0).fit(X, y)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **KernelHasher._parameter_constraints,
        "classifier": [StrOptions({"linear", "kernel"})],
        "n_columns": [Interval(Integral, 1, None, closed="left"), None],
        "ridge": [Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    _default_n_anchors = 1000

    def __init__(
        self,
        n_bits=32,
        *,
        classifier="linear",
        n_anchors=None,
        n_columns=None,
        ridge=None,
        max_iter=10,
        max_samples=100_000,
        random_state=None,
    ):
        self.n_bits = n_bits
        self.classifier = classifier
        self.n_anchors = n_anchors
        self.n_columns = n_columns
        self.ridge = ridge
        self.max_iter = max_iter
        self.max_samples = max_samples
        self.random_state = random_state

    _bytes_per_bit = 1

    def _fit_bytes(self, n_bits, X):
        # Products of bits.
        return 8 * n_bits**2

    def _learn_map(self, X, random):
        return _identity if self.classifier == "linear" else super()._learn_map(X, random)

    def _mapped(self, X):
        return block_of(X, slice(None)) if self.classifier == "linear" else super()._mapped(X)

    def _learn(self, features, targets, random):
        regression = RidgeRegression(self, features, self.ridge or _RIDGES[self.classifier])
        half = len(targets) // 2
        n_columns = self.n_columns or min(half, max(self.n_bits, _COLUMNS_PER_CLASS * len(targets.classes)))
        if n_columns > half:
            raise ValueError(
                f"ColumnSampledHash: n_columns={n_columns} must be <= {half}, half of the labelled rows; use fewer "
                "columns or None."
            )
        B, self.objectives_ = _learn_codes(targets, self.n_bits, n_columns, self.max_iter, random)
        self.n_columns_, self.n_iter_ = n_columns, self.max_iter
        return regression.fit(B)


def _identity(X):
    return X


def _learn_codes(targets, n_bits, n_columns, n_turns, random):
    """Learn codes of rows from their labels, and the error of the columns sampled in each turn."""
    sets, members = targets.label_sets()
    n_samples = len(members)
    B = np.empty((n_samples, n_bits), dtype=np.int8)
    # Drawn in blocks: Gaussian numbers take 8 bytes each.
    for rows in gen_batches(n_samples, _BLOCK_ROWS):
        B[rows] = np.where(random.standard_normal((rows.stop - rows.start, n_bits)) >= 0, 1, -1)
    errors = np.empty(n_turns)
    with single_threaded_blas():
        for turn in range(n_turns):
            columns = random.permutation(n_samples)[:n_columns]
            S = _SampledColumns(sets, members, columns)
            for _ in range(_ALTERNATIONS):
                sampled = B[columns].astype(np.float64)
                B[columns] = 0
                sampled = _improve_columns(S.among_columns(), S.products_with(B), sampled, _gram(B))
                for rows, votes in S.votes(sampled):
                    B[rows] = np.where(votes == 0, B[rows], np.where(votes > 0, 1, -1))
                B[columns] = sampled
            errors[turn] = S.error(B, sampled)
    return B, errors


def _gram(B):
    """Compute ``B'B``."""
    return sum(B[rows].astype(np.float64).T @ B[rows].astype(np.float64) for rows in gen_batches(len(B), _BLOCK_ROWS))


class _SampledColumns:
    """Columns of S: 1 where rows share a label, elsewhere the number that makes the sum 0.

    Kept by distinct sets of labels, because all rows with the same labels have the same entries.

    Parameters
    ----------
    sets : ndarray of shape (n_sets, n_classes)
        Indicators.

    members : ndarray of shape (n_samples,)
        The set of each row.

    columns : ndarray of shape (n_columns,)
        The sampled rows.
    """

    def __init__(self, sets, members, columns):
        self._members, self._columns = members, columns
        self._similar = sets @ sets[members[columns]].T > 0
        self._sizes = np.bincount(members, minlength=len(sets)).astype(np.float64)
        n_pairs = len(members) * len(columns)
        n_similar = int(self._sizes @ self._similar.sum(axis=1))
        self._dissimilar = -n_similar / max(1, n_pairs - n_similar)

    def among_columns(self):
        """Return the rows of the sampled rows."""
        return np.where(self._similar[self._members[self._columns]], 1.0, self._dissimilar)

    def products_with(self, B):
        """Compute ``S'B``."""
        n_samples = len(self._members)
        ones = np.ones(n_samples, dtype=np.int32)
        by_set = sparse.csc_array((ones, self._members, np.arange(n_samples + 1)), shape=(len(self._sizes), n_samples))
        sums = (by_set @ B).astype(np.float64)
        parts = (self._similar[some].T @ sums[some] for some in gen_batches(len(sums), _BLOCK_ROWS))
        return self._weigh(sum(parts), sums.sum(axis=0))

    def votes(self, sampled):
        """Compute ``S sampled``, block by block: yield rows and their part."""
        parts = [self._similar[some] @ sampled for some in gen_batches(len(self._similar), _BLOCK_ROWS)]
        of_sets = self._weigh(np.concatenate(parts), sampled.sum(axis=0))
        for rows in gen_batches(len(self._members), _BLOCK_ROWS):
            yield rows, of_sets[self._members[rows]]

    def error(self, B, sampled):
        """Compute the mean of ``(S - B sampled' / n_bits)^2``."""
        n_similar = self._sizes @ self._similar.sum(axis=1)
        n_pairs, n_bits = len(B) * len(sampled), B.shape[1]
        squares = n_similar + (n_pairs - n_similar) * self._dissimilar**2
        products = np.sum(self.products_with(B) * sampled) / n_bits
        return (squares - 2 * products + np.sum(_gram(B) * (sampled.T @ sampled)) / n_bits**2) / n_pairs

    def _weigh(self, similar, total):
        """Sum over all pairs from the sum over similar ones."""
        return (1 - self._dissimilar) * similar + self._dissimilar * total


def _improve_columns(S, products, B, agreement):
    """Lower the sum over the codes of the sampled rows, bit by bit.

    `S` are the rows of S of the sampled rows, `products` is ``S'B`` and `agreement` ``B'B`` of the others.
    """
    n_bits = B.shape[1]
    B = B.copy()
    for bit in range(n_bits):
        rest = np.arange(n_bits) != bit
        quadratic = n_bits * S - B[:, rest] @ B[:, rest].T
        linear = n_bits * products[:, bit] - B[:, rest] @ agreement[rest, bit]
        B[:, bit] = _flip_entries(quadratic, linear, B[:, bit])
    return B


def _flip_entries(quadratic, linear, b):
    """Raise ``b' Q b + linear' b`` by the flip that gains most, until none does."""
    b = b.copy()
    off_diagonal = quadratic - np.diag(np.diag(quadratic))
    # Gains that rounding may turn around are none.
    threshold = 1e-12 * (np.abs(off_diagonal).sum() + np.abs(linear).sum())
    slope = 2 * off_diagonal @ b + linear
    while True:
        gains = -slope * b
        entry = gains.argmax()
        if gains[entry] <= threshold:
            return b
        b[entry] *= -1
        slope += 4 * b[entry] * off_diagonal[:, entry]
