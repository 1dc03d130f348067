"""Column-sampled discrete supervised hashing."""

from numbers import Integral, Real

import numpy as np

from .._sklearn import Interval, StrOptions
from ._blocks import block_of, single_threaded_blas
from ._kernel import KernelHasher
from ._linear_algebra import RidgeRegression

# Times that the codes of sampled and other rows take turns for one sample of columns, as in the paper.
_ALTERNATIONS = 3

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

    def _learn_map(self, X, random):
        return _identity if self.classifier == "linear" else super()._learn_map(X, random)

    def _mapped(self, X):
        return block_of(X, slice(None)) if self.classifier == "linear" else super()._mapped(X)

    def _learn(self, features, indicators, random):
        regression = RidgeRegression(self, features, self.ridge or _RIDGES[self.classifier])
        half = len(indicators) // 2
        n_columns = self.n_columns or min(half, max(self.n_bits, _COLUMNS_PER_CLASS * indicators.shape[1]))
        if n_columns > half:
            raise ValueError(
                f"ColumnSampledHash: n_columns={n_columns} must be <= {half}, half of the labelled rows; use fewer "
                "columns or None."
            )
        B, self.objectives_ = _learn_codes(indicators, self.n_bits, n_columns, self.max_iter, random)
        self.n_columns_, self.n_iter_ = n_columns, self.max_iter
        return regression.fit(B)


def _identity(X):
    return X


def _learn_codes(indicators, n_bits, n_columns, n_turns, random):
    """Learn codes of rows from their labels, and the error of the columns sampled in each turn."""
    n_samples = len(indicators)
    B = np.where(random.standard_normal((n_samples, n_bits)) >= 0, 1.0, -1.0)
    errors = np.empty(n_turns)
    with single_threaded_blas():
        for turn in range(n_turns):
            order = random.permutation(n_samples)
            columns, others = order[:n_columns], order[n_columns:]
            S = _weighted_similarity(indicators, columns)
            for _ in range(_ALTERNATIONS):
                B[columns] = _improve_columns(S[columns], S[others], B[columns], B[others])
                votes = S[others] @ B[columns]
                B[others] = np.where(votes == 0, B[others], np.where(votes > 0, 1.0, -1.0))
            errors[turn] = np.mean((S - B @ B[columns].T / n_bits) ** 2)
    return B, errors


def _weighted_similarity(indicators, columns):
    """Compute columns of S: 1 where rows share a label, elsewhere the number that makes the sum 0."""
    similar = indicators @ indicators[columns].T > 0
    n_similar = np.count_nonzero(similar)
    return np.where(similar, 1.0, -n_similar / max(1, similar.size - n_similar))


def _improve_columns(S_columns, S_others, B_columns, B_others):
    """Lower the sum over the codes of the sampled rows, bit by bit."""
    n_bits = B_columns.shape[1]
    B_columns = B_columns.copy()
    votes = n_bits * S_others.T @ B_others
    agreement = B_others.T @ B_others
    for bit in range(n_bits):
        rest = np.arange(n_bits) != bit
        quadratic = n_bits * S_columns - B_columns[:, rest] @ B_columns[:, rest].T
        linear = votes[:, bit] - B_columns[:, rest] @ agreement[rest, bit]
        B_columns[:, bit] = _flip_entries(quadratic, linear, B_columns[:, bit])
    return B_columns


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
