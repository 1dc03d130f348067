"""Circulant binary embedding."""

from numbers import Integral, Real

import numpy as np
from scipy import fft
from sklearn.utils import check_random_state, gen_batches

from .._sklearn import Interval
from ._base import BaseHasher
from ._blocks import block_of, float_dtype, map_in_order
from ._statistics import RunningStatistics, check_finite_statistics, overflow_error

# Numbers that are transformed at once.
_BLOCK_NUMBERS = 2**19


class CirculantHash(BaseHasher):
    r"""Hash with a circulant matrix, by fast Fourier transforms.

    Each bit is the sign of a projection on the cyclically shifted entries of one vector :math:`r`, after random sign
    changes :math:`D`,

    .. math:: b(x) = [R D (x - \mu) \ge 0], \qquad R = \mathrm{circ}(r), \quad D = \mathrm{diag}(\pm 1, \ldots, \pm 1),

    which takes :math:`O(d \log d)` operations and :math:`O(d)` memory for :math:`d` bits of :math:`d` features. The
    learned :math:`r` minimises, with the transformed rows :math:`X` and their signs :math:`B`,

    .. math:: \frac{1}{n} \lVert B - X R' \rVert_F^2 + \lambda \lVert R R' - I \rVert_F^2

    by turns: :math:`B = \mathrm{sign}(X R')` for a fixed matrix, and :math:`r` for fixed signs. The discrete Fourier
    transform :math:`\tilde r` makes the second problem one for each frequency :math:`l`. With the mean power
    :math:`m_l` of the rows and their mean cross-spectrum :math:`c_l` with the signs, the optimum has the phase of
    :math:`c_l`, and its magnitude is the positive root of a cubic:

    .. math:: \min_{\tilde r_l} \; \frac{1}{d} \left( m_l |\tilde r_l|^2 - 2 \, \mathrm{Re}(\bar c_l \tilde r_l) \right)
              + \lambda (|\tilde r_l|^2 - 1)^2, \qquad
              2 \lambda d \, |\tilde r_l|^3 + (m_l - 2 \lambda d) \, |\tilde r_l| = |c_l|.

    Neither step can increase the objective.

    Parameters
    ----------
    n_bits : int, default=32
        Code length. The first `n_bits` rows of the circulant matrix are used; more bits than features take further
        circulant matrices, each with sign changes of its own.

    learned : bool, default=True
        Whether to learn :math:`r` from the data. Otherwise it is random, and codes estimate angles as those of `LSH`.

    orthogonality_weight : float, default=1.0
        Weight :math:`\lambda` of the pull towards an orthogonal matrix. Only used if `learned`.

    max_iter : int, default=10
        Number of turns. Only used if `learned`.

    max_samples : int, default=10000
        Number of rows to learn from, drawn at random if there are more. Only used if `learned`.

    random_state : int, RandomState instance or None, default=None
        Seed of the sign changes, of the vector that the first turn starts from, and of the choice of rows.

    Attributes
    ----------
    generators_ : ndarray of shape (n_matrices, n_features), dtype float64
        The vector :math:`r` of each circulant matrix, its first column.

    sign_changes_ : ndarray of shape (n_matrices, n_features), dtype int8
        The diagonal of :math:`D` for each circulant matrix.

    objectives_ : ndarray of shape (max_iter,)
        The objective at each turn, added over the matrices; it never rises. Only if `learned`.

    n_iter_ : int
        Number of turns taken; 1, the draw, if not `learned`.

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
    LSH : An independent random direction for each bit.

    Notes
    -----
    Made for long codes of many features; for short codes a dense matrix is as fast, and `ITQ` better.

    The paper takes rows of norm 1 and adds errors over them. Here rows are centred and then scaled together so that
    their mean squared norm is the number of features, and errors are averaged: then projections and signs are of one
    size, and :math:`\lambda` means the same for any number of rows and scale of the features. The random :math:`r` has
    variance :math:`1 / d` instead of 1, which changes no bit. The paper minimises over each frequency by gradient
    descent, here it is solved exactly. As in the paper, the signs that go with unused rows of the matrix are set to 0
    while learning. There is no `partial_fit`: the signs depend on the rows themselves.

    References
    ----------
    F. X. Yu, S. Kumar, Y. Gong and S.-F. Chang, "Circulant binary embedding", ICML 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import CirculantHash
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = CirculantHash(n_bits=64, random_state=0).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 8)
    """

    _parameter_constraints: dict = {
        **BaseHasher._parameter_constraints,
        "learned": ["boolean"],
        "orthogonality_weight": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_bits=32,
        *,
        learned=True,
        orthogonality_weight=1.0,
        max_iter=10,
        max_samples=10_000,
        random_state=None,
    ):
        self.n_bits = n_bits
        self.learned = learned
        self.orthogonality_weight = orthogonality_weight
        self.max_iter = max_iter
        self.max_samples = max_samples
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        # The signs that are drawn, before they are cast.
        return 8 * n_bits

    def _fit(self, X, y):
        statistics = RunningStatistics.from_rows(X, with_scatter=False)
        check_finite_statistics(self, statistics)
        random, n_features = check_random_state(self.random_state), X.shape[1]
        n_matrices = -(-self.n_bits // n_features)
        self.sign_changes_ = random.choice(np.array([-1, 1], dtype=np.int8), (n_matrices, n_features))
        generators = random.standard_normal((n_matrices, n_features)) / np.sqrt(n_features)
        # The number of bits that each matrix gives.
        self._widths = np.diff([*range(0, self.n_bits, n_features), self.n_bits])
        if self.learned:
            rows = np.sort(random.permutation(X.shape[0])[: self.max_samples])
            learned = [
                self._learn(_SignedRows(X, rows, statistics.mean, signs), generator, width)
                for signs, generator, width in zip(self.sign_changes_, generators, self._widths, strict=True)
            ]
            generators = np.stack([generator for generator, _ in learned])
            self.objectives_ = np.sum([objectives for _, objectives in learned], axis=0)
        self.n_iter_ = self.max_iter if self.learned else 1
        self.generators_ = generators
        self._spectra = fft.rfft(generators)
        self.mean_ = statistics.mean.astype(float_dtype(X))
        self._offsets = self._uncentred_projections(statistics.mean)

    def _learn(self, rows, generator, width):
        """Take turns between signs and generator, and return the last generator and the objective of each turn."""
        power, weight, n_features = rows.mean_power(), self.orthogonality_weight, len(generator)
        # All frequencies but the first, and the last of an even number, stand for a pair.
        multiplicities = np.full(len(power), 2.0)
        multiplicities[0] = 1
        if n_features % 2 == 0:
            multiplicities[-1] = 1
        total = multiplicities @ power / n_features
        if not np.isfinite(total):
            raise overflow_error(self)
        if total <= (max(len(rows.rows), n_features) * np.finfo(float).eps) ** 2 * (rows.mean @ rows.mean):
            raise ValueError(f"CirculantHash: all {len(rows.X)} training rows are equal; pass rows that differ.")
        scale = np.sqrt(n_features / total)
        power = power * scale**2
        spectrum, objectives = fft.rfft(generator), np.empty(self.max_iter)
        for turn in range(self.max_iter):
            cross = scale * rows.mean_cross_spectrum(spectrum, width)
            magnitudes = np.abs(spectrum)
            errors = (power * magnitudes**2 - 2 * (cross.conj() * spectrum).real) / n_features
            objectives[turn] = width + multiplicities @ (errors + weight * (magnitudes**2 - 1) ** 2)
            phases = np.where(cross == 0, spectrum, cross)
            phases /= np.maximum(np.abs(phases), np.finfo(float).tiny)
            spectrum = phases * _best_magnitudes(power, np.abs(cross), 2 * weight * n_features)
        return fft.irfft(spectrum, n_features), objectives

    def _uncentred_projections(self, X):
        parts = []
        for signs, spectrum, width in zip(self.sign_changes_, self._spectra, self._widths, strict=True):
            spectra = fft.rfft(X * signs.astype(X.dtype))
            spectra *= spectrum.astype(spectra.dtype)
            parts.append(fft.irfft(spectra, X.shape[-1])[..., :width])
        return np.concatenate(parts, axis=-1)

    def _project_rows(self, X):
        projections = self._uncentred_projections(X)
        projections -= self._offsets.astype(X.dtype, copy=False)
        return projections


class _SignedRows:
    """Some rows of X, centred and with changed signs, as spectra that are made anew, block by block, in each turn."""

    def __init__(self, X, rows, mean, signs):
        self.X, self.rows, self.mean, self.signs = X, rows, mean, signs

    def mean_power(self):
        """Compute the mean of ``|x~|^2``."""
        return self._mean(lambda spectra: np.abs(spectra) ** 2)

    def mean_cross_spectrum(self, spectrum, width):
        """Compute the mean of ``conj(x~) b~`` with the first `width` signs b that `spectrum` gives."""
        n_features = len(self.mean)

        def cross(spectra):
            projections = fft.irfft(spectra * spectrum, n_features)
            signs = np.where(projections >= 0, 1.0, -1.0)
            signs[:, width:] = 0
            return spectra.conj() * fft.rfft(signs)

        return self._mean(cross)

    def _mean(self, function):
        def of_block(block):
            with np.errstate(over="ignore", invalid="ignore"):
                centred = block_of(self.X, self.rows[block]).astype(float) - self.mean
                return function(fft.rfft(centred * self.signs)).sum(axis=0)

        blocks = gen_batches(len(self.rows), max(1, _BLOCK_NUMBERS // len(self.mean)))
        return sum(map_in_order(of_block, blocks)) / len(self.rows)


def _best_magnitudes(power, cross_magnitudes, weight):
    """Find the largest root of ``weight z^3 + (power - weight) z - |cross|``, the only positive one if ``|cross| > 0``.

    Newton's method starts above it, where the cubic is convex, so it comes down to the root without overshooting.
    """
    with np.errstate(over="ignore"):
        z = 1 + np.cbrt(cross_magnitudes / weight)
        # With next to no weight, the root is that of the linear terms.
        z = np.where(np.isfinite(z), z, cross_magnitudes / np.maximum(power, np.finfo(float).tiny))
    for _ in range(100):
        values = z * (weight * z**2 + power - weight) - cross_magnitudes
        slopes = 3 * weight * z**2 + power - weight
        z = np.maximum(z - np.divide(values, slopes, out=np.zeros_like(z), where=slopes > 0), 0)
    return z
