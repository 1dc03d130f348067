"""Supervised hashing with kernels."""

from numbers import Integral, Real

import numpy as np
from scipy import linalg, sparse
from scipy.special import expit

from .._memory import check_allocation
from .._sklearn import Interval
from ._blocks import single_threaded_blas
from ._kernel import KernelHasher

# The smoothed objective is climbed until a step gains less than this share of it.
_TOLERANCE = 1e-5


class KernelSupervisedHash(KernelHasher):
    r"""Hash so that codes of rows that share a label agree, bit by bit on kernels.

    Bit :math:`k` is the sign of a function :math:`a_k' \bar{k}(x)` of the centred Gaussian kernels of a row and some
    anchors. With a matrix :math:`S` of pairs, 1 where two rows share a label and -1 elsewhere, the inner products of
    codes are to fit it,

    .. math:: \min_A \left\lVert \frac{1}{K} H H' - S \right\rVert_F^2, \quad H = \mathrm{sign}(\bar{K} A).

    Bits are learned greedily: :math:`h_k` maximises :math:`h' R h` for what the earlier ones left,
    :math:`R = K S - \sum_{j<k} h_j h_j'`. An eigenvector, which solves the problem without the signs, is where gradient
    ascent on a smoothed one starts that has :math:`\varphi(x) = 2 / (1 + e^{-x}) - 1` for the sign. The better of
    both is kept.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, with no upper limit.

    n_anchors : int, default=None
        Training rows that kernels are taken with, at most as many as there are; by default 300, or all rows if there
        are fewer.

    ridge : float, default=0.1
        Ridge that keeps directions apart in which kernels hardly vary, in units of the mean variance of the kernels.

    max_iter : int, default=100
        Steps of the ascent for each bit, at most.

    max_samples : int, default=5000
        Labelled rows learned from; of more, as many are drawn at random. Time grows with their number, memory with
        it and the square of the number of distinct sets of labels among them.

    random_state : int, RandomState instance or None, default=None
        Seed of anchors and drawn rows.

    Attributes
    ----------
    anchors_ : ndarray of shape (n_anchors_, n_features)
        Training rows drawn at random, unlabelled ones among them.

    n_anchors_ : int
        Number of anchors.

    width_ : float
        Standard deviation :math:`\sigma` of the kernel: the mean distance of training rows to anchors.

    objectives_ : ndarray of shape (n_bits,)
        :math:`\lVert \frac{1}{K} \sum_{j \le k} h_j h_j' - S \rVert_F^2 / n^2` after each bit :math:`k`. A
        bit that agrees well with what the earlier ones left lowers it; the paper does not prove that one is found.

    n_iter_ : int
        Steps of the ascent for the bit that took most.

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
    SupervisedDiscreteHash : The same functions, learned from classes instead of pairs.
    ColumnSampledHash : Discrete codes from pairs.

    Notes
    -----
    The matrix of pairs is never formed: rows with the same labels have the same row in it. The optimisation works in
    coordinates in which the kernels have unit variance, where the eigenproblem is an ordinary one and the ascent,
    Nesterov's accelerated gradient as in the paper, needs few steps; the paper has no ridge, which would be 0. The
    kernels are centred by the mean of the labelled rows. Rows without a label serve as anchors, and for nothing else.

    References
    ----------
    W. Liu, J. Wang, R. Ji, Y.-G. Jiang and S.-F. Chang, "Supervised hashing with kernels", CVPR 2012.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import KernelSupervisedHash
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = KernelSupervisedHash(n_bits=8, max_iter=20, random_state=0).fit(X, y)
    >>> hasher.transform(X[:1]).shape
    (1, 1)
    """

    _parameter_constraints: dict = {
        **KernelHasher._parameter_constraints,
        "ridge": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_bits=32, *, n_anchors=None, ridge=0.1, max_iter=100, max_samples=5000, random_state=None):
        self.n_bits = n_bits
        self.n_anchors = n_anchors
        self.ridge = ridge
        self.max_iter = max_iter
        self.max_samples = max_samples
        self.random_state = random_state

    def _learn(self, features, targets, random):
        similarity = _SharedLabels(targets)
        if similarity.all_similar:
            raise ValueError(
                f"KernelSupervisedHash: all {len(targets)} labelled rows share a label with all others; leave out "
                "labels that all have."
            )
        n_samples = len(targets)
        mean = features.mean(axis=0, dtype=np.float64)
        with single_threaded_blas():
            whitened, directions = _whiten(features - mean, self.ridge)
            residue = _Residue(similarity, self.n_bits, whitened)
            weights = np.empty((len(directions.T), self.n_bits))
            objectives, steps = np.empty(self.n_bits), np.zeros(self.n_bits, dtype=int)
            for bit in range(self.n_bits):
                spectral = residue.leading_direction()
                smoothed, steps[bit] = _climb(residue, spectral, self.max_iter)
                weights[:, bit] = max(spectral, smoothed, key=lambda v: residue.agreement(_signs(whitened @ v)))
                objectives[bit] = residue.subtract(_signs(whitened @ weights[:, bit]))
            weights = directions @ weights
        self.n_iter_ = int(steps.max())
        self.objectives_ = objectives / (n_samples * self.n_bits) ** 2
        return weights, mean @ weights


class _SharedLabels:
    """The matrix S of pairs: 1 where two rows share a label, else -1; kept by distinct sets of labels."""

    def __init__(self, targets):
        sets, self._members = targets.label_sets()
        n_samples = len(targets)
        # The products, and the matrix.
        what = f"the matrix of pairs of {len(sets):,} distinct sets of labels"
        check_allocation("KernelSupervisedHash", (4 + 8) * len(sets) ** 2, what, "lower max_samples")
        self._between = np.where(sets @ sets.T > 0, 1.0, -1.0)
        self._sums = sparse.csr_array((np.ones(n_samples), (self._members, np.arange(n_samples))))
        self.all_similar = bool((self._between > 0).all())

    def times(self, vector):
        """Compute ``S vector``."""
        return (self._between @ (self._sums @ vector))[self._members]

    def between(self, matrix):
        """Compute ``matrix' S matrix``."""
        sums = self._sums @ matrix
        return sums.T @ (self._between @ sums)


class _Residue:
    """What the bits so far leave of K S, seen through the whitened features U: ``R = K S - sum of h h'``."""

    def __init__(self, similarity, n_bits, whitened):
        self.whitened = whitened
        self._similarity, self.scale = similarity, n_bits
        self._quadratic = n_bits * similarity.between(whitened)
        self._codes = np.empty((len(whitened), 0))
        self._squared_norm = float(n_bits * len(whitened)) ** 2

    def times(self, vector):
        """Compute ``R vector``."""
        return self.scale * self._similarity.times(vector) - self._codes @ (self._codes.T @ vector)

    def agreement(self, vector):
        """Compute ``vector' R vector``."""
        return vector @ self.times(vector)

    def leading_direction(self):
        """Find the unit vector v that maximises ``v' U' R U v``."""
        last = len(self._quadratic) - 1
        vector = linalg.eigh(self._quadratic, subset_by_index=[last, last])[1][:, 0]
        return vector * np.sign(vector[np.abs(vector).argmax()])

    def subtract(self, bit):
        """Take a bit off, and return ``||R||^2`` of what is left."""
        self._squared_norm += len(bit) ** 2 - 2 * self.agreement(bit)
        projected = self.whitened.T @ bit
        self._quadratic -= np.outer(projected, projected)
        self._codes = np.column_stack([self._codes, bit])
        return self._squared_norm


def _whiten(centred, ridge):
    """Find directions along which the features have unit variance, shrunk by the ridge; constant ones are left out."""
    n_samples = len(centred)
    covariance = centred.T @ centred / n_samples
    variances, vectors = linalg.eigh(covariance)
    eps = np.finfo(centred.dtype).eps
    # Kernels are at most 1, so that constant ones leave rounding errors of that scale.
    kept = variances > len(variances) * eps * max(variances[-1], eps)
    shrunk = variances[kept] + ridge * variances.mean()
    directions = vectors[:, kept] / np.sqrt(shrunk)
    return centred @ directions, directions


def _climb(residue, start, max_iter):
    r"""Maximise ``phi(U v)' R phi(U v)`` with phi(x) = 2 / (1 + exp(-x)) - 1 by Nesterov's accelerated gradient.

    The step is halved until it gains what the gradient promises, and the momentum is dropped where it leads downhill.
    Returns the best point and the number of steps.
    """
    U = residue.whitened
    scale = 1 / (len(U) ** 2 * residue.scale)

    def smoothed(v):
        soft = 2 * expit(U @ v) - 1
        times = residue.times(soft)
        return scale * (soft @ times), soft, times

    best, point, momentum, step = start, start, 1.0, 1.0
    best_value = smoothed(start)[0]
    for n_steps in range(1, max_iter + 1):  # noqa: B007 (returned)
        value, soft, times = smoothed(point)
        # R is symmetric, and the derivative of phi is (1 - phi^2) / 2.
        gradient = scale * (U.T @ (times * (1 - soft**2)))
        squared = gradient @ gradient
        while True:
            new = point + step * gradient
            new_value = smoothed(new)[0]
            if new_value >= value + step / 2 * squared or step * squared < _TOLERANCE * abs(value):
                break
            step /= 2
        if new_value <= best_value:
            if point is best:
                break
            point, momentum = best, 1.0
            continue
        gain = new_value - best_value
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        point = new + (momentum - 1) / next_momentum * (new - best)
        best, best_value, momentum = new, new_value, next_momentum
        if gain < _TOLERANCE * abs(new_value):
            break
        step *= 1.5
    return best, n_steps


def _signs(values):
    return np.where(values >= 0, 1.0, -1.0)
