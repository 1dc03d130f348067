"""Statistics of a set of codes, without labels: balance, independence, collisions."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr
from sklearn.utils import Bunch, gen_batches

from .._validation import as_array, shown
from ..codes import check_codes, code_width, pack_bits, unpack_codes

# Codes that are unpacked at once.
_BLOCK_CODES = 2**14


def code_statistics(codes: ArrayLike, *, n_bits: int | None = None, projections: ArrayLike | None = None) -> Bunch:
    r"""Compute how balanced, independent and distinct the bits of a set of codes are.

    Good codes have bits that are 1 for half of the items, that are uncorrelated, and that tell items apart.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bytes)
        Packed codes.

    n_bits : int, default=None
        Code length; the width of `projections` or else ``8 * n_bytes`` when not given.

    projections : array-like of shape (n_samples, n_bits), default=None
        The projections that were binarized to these codes, ``hasher.project(X)``.

    Returns
    -------
    statistics : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        bit_means : ndarray of shape (n_bits,), dtype float64
            Share of the items for which each bit is 1.
        bit_entropies : ndarray of shape (n_bits,), dtype float64
            Entropy of each bit, from 0 to 1 bit.
        dead_bits : ndarray of shape (n_dead_bits,), dtype int
            Numbers of the bits that are the same for all items.
        mean_abs_correlation : float
            Mean of :math:`|corr|` over the pairs of two different bits, without dead bits, whose correlation
            is undefined; NaN where fewer than two bits are left.
        max_abs_correlation : float
            Largest :math:`|corr|` of these pairs, or NaN.
        effective_rank : float
            :math:`\exp(-\sum_i p_i \ln p_i)` with :math:`p_i = \lambda_i / \sum_j \lambda_j` of the
            eigenvalues :math:`\lambda_i` of the covariance matrix of the bits [1]_: the code length of
            independent, equally balanced bits, less where bits repeat each other, 0 where all are dead.
        n_distinct : int
            Number of different codes.
        distinct_ratio : float
            `n_distinct` divided by the number of items.
        largest_bucket : int
            Number of items that share the most frequent code.
        quantization_error : float
            Mean over items and bits of :math:`(sgn(v) - v)^2` of the projections :math:`v`, where
            :math:`sgn(0) = 1`: ITQ's loss :math:`\|B - V\|_F^2 / (n \cdot n\_bits)` [2]_. It depends on the
            scale of the projections. Only with `projections`.

    Raises
    ------
    TypeError
        If codes are sparse, boolean or not numeric.
    ValueError
        If `codes` are no packed codes of `n_bits` bits, or `projections` have another shape, are not finite,
        or are not what these codes were made from.

    References
    ----------
    .. [1] O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    .. [2] Y. Gong, S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes",
       CVPR 2011.

    Examples
    --------
    >>> from skhash.codes import pack_bits
    >>> from skhash.metrics import code_statistics
    >>> codes = pack_bits([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> statistics = code_statistics(codes, n_bits=3)
    >>> statistics.bit_means
    array([0.5, 0.5, 1. ])
    >>> statistics.dead_bits
    array([2])
    >>> round(statistics.effective_rank, 6), statistics.n_distinct
    (2.0, 4)
    """
    if n_bits is not None:
        code_width(n_bits)
    if projections is not None:
        checked_projections = _check_projections(projections, n_bits)
        n_bits = checked_projections.shape[1]
    codes = check_codes(codes, n_bits=n_bits, name="code_statistics: codes")
    bit_means, covariance = _moments(codes, n_bits)
    bucket_sizes = np.unique(codes, axis=0, return_counts=True)[1]
    statistics = Bunch(
        bit_means=bit_means,
        bit_entropies=(entr(bit_means) + entr(1 - bit_means)) / np.log(2),
        dead_bits=np.flatnonzero((bit_means == 0) | (bit_means == 1)),
        effective_rank=_effective_rank(covariance),
        n_distinct=len(bucket_sizes),
        distinct_ratio=len(bucket_sizes) / len(codes),
        largest_bucket=int(bucket_sizes.max()),
    )
    statistics.mean_abs_correlation, statistics.max_abs_correlation = _correlations(covariance)
    if projections is not None:
        statistics.quantization_error = _quantization_error(codes, checked_projections)
    return statistics


def _check_projections(projections, n_bits):
    projections = as_array(projections, name="code_statistics: projections")
    if projections.ndim != 2 or projections.dtype.kind not in "uif":
        raise ValueError(
            f"code_statistics: projections have shape {projections.shape} and dtype {projections.dtype}; "
            "pass real numbers (n_samples, n_bits), hasher.project(X)."
        )
    if n_bits is not None and projections.shape[1] != n_bits:
        raise ValueError(
            f"code_statistics: projections have {projections.shape[1]} columns, not n_bits={shown(n_bits)}."
        )
    if not np.isfinite(projections).all():
        raise ValueError("code_statistics: projections hold NaN or infinity.")
    return projections


def _moments(codes, n_bits):
    """Return the means and the covariance matrix of the bits."""
    total, products = 0, 0
    for batch in gen_batches(len(codes), _BLOCK_CODES):
        bits = unpack_codes(codes[batch], n_bits).astype(np.float64)
        total = total + bits.sum(axis=0)
        products = products + bits.T @ bits
    n_samples = len(codes)
    # Sums of zeros and ones are exact, so a bit is dead exactly where its variance is 0.
    return total / n_samples, (n_samples * products - np.outer(total, total)) / n_samples**2


def _correlations(covariance):
    """Return the mean and the largest absolute correlation of the pairs of bits that vary."""
    alive = np.flatnonzero(np.diag(covariance) > 0)
    if len(alive) < 2:
        return np.nan, np.nan
    deviations = np.sqrt(np.diag(covariance)[alive])
    correlations = covariance[np.ix_(alive, alive)] / np.outer(deviations, deviations)
    pairs = np.minimum(np.abs(correlations[np.triu_indices(len(alive), k=1)]), 1.0)
    return float(pairs.mean()), float(pairs.max())


def _effective_rank(covariance):
    eigenvalues = np.maximum(np.linalg.eigvalsh(covariance), 0.0)
    total = eigenvalues.sum()
    return float(np.exp(entr(eigenvalues / total).sum())) if total > 0 else 0.0


def _quantization_error(codes, projections):
    if len(projections) != len(codes):
        raise ValueError(f"code_statistics: {len(projections)} projections for {len(codes)} codes; pass one per code.")
    total = 0.0
    for batch in gen_batches(len(codes), _BLOCK_CODES):
        is_one = projections[batch] >= 0
        if not np.array_equal(pack_bits(is_one), codes[batch]):
            raise ValueError(
                "code_statistics: codes differ from pack_bits(projections >= 0); pass the projections of these items."
            )
        signs = np.where(is_one, 1.0, -1.0)
        # NumPy adds in the order of the memory, of which the result must not tell.
        total += np.square(np.subtract(signs, projections[batch], order="C")).sum()
    return float(total / projections.size)
