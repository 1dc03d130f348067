"""K-means hashing."""

from numbers import Integral, Real

import numpy as np
from scipy import linalg
from sklearn.utils import check_random_state

from .._sklearn import Interval
from ._anchors import check_finite_distances, squared_distances
from ._base import BaseHasher
from ._blocks import apply_to_rows, float_dtype, single_threaded_blas
from ._linear_algebra import principal_components, supported_components
from ._statistics import RunningStatistics, check_finite_statistics

# Majorisation steps of the codewords between two assignments of the rows.
_STEPS = 10


class KMeansHash(BaseHasher):
    r"""Hash with k-means codewords whose distances follow the Hamming distances of their indices.

    The principal directions are dealt out to subspaces of balanced variance. In each, :math:`2^b` codewords
    :math:`c_i`, one for each code of :math:`b` bits, minimise the quantisation error and, weighted by :math:`\lambda`,
    how far their distances are from scaled roots of Hamming distances :math:`h(i, j)`,

    .. math:: E = \frac{1}{n} \sum_x \lVert x - c_{i(x)} \rVert^2 + \lambda \sum_{i, j} w_{ij}
              \left(\lVert c_i - c_j \rVert - s \sqrt{h(i, j)}\right)^2, \qquad w_{ij} = \frac{n_i n_j}{n^2},

    by turns between the assignment :math:`i(x)` of rows to their nearest codewords and the codewords. They start at the
    corners of the hypercube that quantises best the signs of the first :math:`b` directions, which sets :math:`s`.

    `project` gives, for each bit, half the difference between the squared distances from the nearest codeword with the
    bit 0 and from the nearest one with the bit 1. Its sign is the bit of the nearest codeword, and its size says how
    much nearer that is than the nearest one with the other bit.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, at most the rank of the training data.

    bits_per_subspace : int, default=4
        Bits of one subspace, :math:`b`, at most 8. Where they do not divide `n_bits`, some subspaces have one less.

    affinity_weight : float, default=10.0
        Weight :math:`\lambda` of the distances between codewords; with 0 this is k-means.

    max_iter : int, default=50
        Most turns.

    max_samples : int, default=20000
        Most rows that codewords are learned from, drawn at random. Directions are learned from all rows.

    random_state : int, RandomState instance or None, default=None
        Seed of the choice of rows; no other step is random.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Principal directions in which the training data vary, subspace by subspace.

    codebooks_ : list of ndarray of shape (2 ** b, n_directions)
        For each subspace, the codewords along its directions, in the order of their codes as binary numbers.

    objectives_ : ndarray of shape (n_iter_ + 1,)
        Sum of :math:`E` over the subspaces at the start and after each turn; it never rises.

    n_iter_ : int
        Number of turns of the subspace that took most.

    mean_ : ndarray of shape (n_features,)
        Mean of the training features.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    ITQ : Codewords that stay the corners of a rotated hypercube.

    Notes
    -----
    The paper moves one codeword at a time by a quasi-Newton method. Here all move together by majorisation, as in
    multidimensional scaling, which cannot raise :math:`E` and needs the means of the rows of each codeword alone. The
    weights :math:`w_{ij}` change with the assignment, which the proof does not cover: a turn that would raise
    :math:`E` is undone and ends the learning of its subspace. A codeword that loses all rows stays where it is.

    What :math:`E` stands for is the distance of rows, not their classes: where labels decide, `ITQ` is far ahead. By
    Euclidean neighbours both are about level on features of a network, and ITQ is ahead on Gaussian rows; the paper has
    this method ahead on SIFT and GIST descriptors. See the benchmarks.

    References
    ----------
    K. He, F. Wen and J. Sun, "K-means hashing: an affinity-preserving quantization method for learning binary compact
    codes", CVPR 2013.

    T. Ge, K. He, Q. Ke and J. Sun, "Optimized product quantization for approximate nearest neighbor search", CVPR 2013
    (how directions are dealt out to subspaces).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import KMeansHash
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = KMeansHash(n_bits=16).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **BaseHasher._parameter_constraints,
        "bits_per_subspace": [Interval(Integral, 1, 8, closed="both")],
        "affinity_weight": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_bits=32,
        *,
        bits_per_subspace=4,
        affinity_weight=10.0,
        max_iter=50,
        max_samples=20000,
        random_state=None,
    ):
        self.n_bits = n_bits
        self.bits_per_subspace = bits_per_subspace
        self.affinity_weight = affinity_weight
        self.max_iter = max_iter
        self.max_samples = max_samples
        self.random_state = random_state

    def _fit(self, X, y):
        check_finite_distances(self, X)
        statistics = RunningStatistics.from_rows(X, with_scatter=True, name="KMeansHash")
        check_finite_statistics(self, statistics)
        supported_components(self, self.n_bits, statistics)
        components, variances = principal_components(statistics, X.shape[1])
        self._subspace_bits = _split_bits(self.n_bits, self.bits_per_subspace)
        subspaces = _deal_directions(variances[variances > 0], self._subspace_bits)
        components = components[np.concatenate(subspaces)]

        rows = X
        if X.shape[0] > self.max_samples:
            rows = X[np.sort(check_random_state(self.random_state).permutation(X.shape[0])[: self.max_samples])]
        weights, offsets = components.T.astype(float_dtype(X)), (components @ statistics.mean).astype(float_dtype(X))
        V = apply_to_rows(lambda block: block @ weights - offsets, rows, len(components), float_dtype(X))

        ends = np.cumsum([len(subspace) for subspace in subspaces])
        self.codebooks_, objectives, columns = [], [], []
        with single_threaded_blas():
            for n_bits, values, directions in zip(
                self._subspace_bits, np.split(V, ends[:-1], axis=1), np.split(components, ends[:-1]), strict=True
            ):
                codebook, course = _learn_codewords(
                    np.ascontiguousarray(values, dtype=np.float64), n_bits, self.affinity_weight, self.max_iter
                )
                self.codebooks_.append(codebook)
                objectives.append(course)
                columns.append(directions.T @ codebook.T)
            # A row's squared distance to a codeword is its squared norm less twice ``(x - mean) W c - ||c||^2 / 2``.
            self._weights = np.concatenate(columns, axis=1)
            norms = np.concatenate([np.einsum("ij,ij->i", codebook, codebook) for codebook in self.codebooks_])
            self._offsets = statistics.mean @ self._weights + norms / 2
        self.n_iter_ = max(len(course) for course in objectives) - 1
        # Where a subspace has ended, its error stays.
        self.objectives_ = np.sum([np.pad(c, (0, self.n_iter_ + 1 - len(c)), mode="edge") for c in objectives], axis=0)
        self.components_ = components.astype(float_dtype(X))
        self.mean_ = statistics.mean.astype(float_dtype(X))

    def _project_rows(self, X):
        nearness = X @ self._weights.astype(X.dtype, copy=False)
        nearness -= self._offsets.astype(X.dtype, copy=False)
        projections = np.empty((*nearness.shape[:-1], sum(self._subspace_bits)), dtype=nearness.dtype)
        start = column = 0
        for n_bits in self._subspace_bits:
            of_subspace = nearness[..., start : start + 2**n_bits]
            for position in range(n_bits):
                # Codewords along the last axis but one by the value of this bit.
                by_bit = of_subspace.reshape(*of_subspace.shape[:-1], 2**position, 2, -1).max(axis=(-3, -1))
                projections[..., column] = by_bit[..., 1] - by_bit[..., 0]
                column += 1
            start += 2**n_bits
        return projections

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _split_bits(n_bits, bits_per_subspace):
    """Split bits over as few subspaces as possible, as evenly as possible."""
    n_subspaces = -(-n_bits // bits_per_subspace)
    return [len(part) for part in np.array_split(np.arange(n_bits), n_subspaces)]


def _deal_directions(variances, subspace_bits):
    """Deal directions, by falling variance, each to the subspace with room whose product of variances is smallest.

    A subspace has room in proportion to its bits. Returns the indices of its directions for each.
    """
    ends = np.cumsum(subspace_bits) * len(variances) // sum(subspace_bits)
    rooms = np.diff(ends, prepend=0)
    # Above 0, so that each further direction raises a product whatever the unit of the features.
    logarithms = np.log(variances / variances[-1])
    subspaces = [[] for _ in subspace_bits]
    totals = np.zeros(len(subspace_bits))
    for direction, logarithm in enumerate(logarithms):
        full = np.array([len(subspace) for subspace in subspaces]) >= rooms
        target = int(np.where(full, np.inf, totals / subspace_bits).argmin())
        subspaces[target].append(direction)
        totals[target] += logarithm
    return [np.array(subspace) for subspace in subspaces]


def _learn_codewords(V, n_bits, affinity_weight, max_iter):
    """Learn the codewords of one subspace, and return them with the objective at the start and after each turn."""
    bits = (np.arange(2**n_bits)[:, None] >> np.arange(n_bits)[::-1]) & 1
    scale = np.abs(V[:, :n_bits]).mean()
    codebook = np.zeros((2**n_bits, V.shape[1]))
    codebook[:, :n_bits] = scale * (2 * bits - 1)
    targets = 2 * scale * np.sqrt((bits[:, None] != bits).sum(axis=2))
    objectives = []
    before = codebook
    while True:
        distances = squared_distances(V, codebook)
        nearest = distances.argmin(axis=1)
        shares = np.bincount(nearest, minlength=2**n_bits) / len(V)
        mismatch = np.sqrt(squared_distances(codebook, codebook)) - targets
        objective = distances.min(axis=1).mean() + affinity_weight * shares @ mismatch**2 @ shares
        if objectives and objective >= objectives[-1]:
            return before, objectives
        objectives.append(float(objective))
        if len(objectives) > max_iter:
            return codebook, objectives
        sums = np.eye(2**n_bits)[nearest].T @ V / len(V)
        before, codebook = codebook, _move_codewords(codebook, shares, sums, targets, affinity_weight)


def _move_codewords(codebook, shares, sums, targets, affinity_weight):
    """Lower the objective for a fixed assignment, by steps to the minimum of a quadratic bound that touches it.

    ``sum_ij w_ij (d_ij - t_ij)^2`` is at most ``2 tr C'VC - 4 tr C'BC_0`` and a constant, with equality at C_0.
    """
    used = shares > 0
    moved, targets = codebook[used], targets[np.ix_(used, used)]
    pairs = np.outer(shares[used], shares[used])
    np.fill_diagonal(pairs, 0)
    system = np.diag(shares[used]) + 2 * affinity_weight * (np.diag(pairs.sum(axis=1)) - pairs)
    factor = linalg.cho_factor(system)
    for _ in range(_STEPS):
        distances = np.sqrt(squared_distances(moved, moved))
        pulls = np.divide(pairs * targets, distances, out=np.zeros_like(pairs), where=distances > 0)
        pushed = pulls.sum(axis=1)[:, None] * moved - pulls @ moved
        moved = linalg.cho_solve(factor, sums[used] + 2 * affinity_weight * pushed)
    result = codebook.copy()
    result[used] = moved
    return result
