"""Iterative quantization."""

from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from .._sklearn import Interval
from .._validation import all_finite, largest_magnitude
from ._base import PrincipalComponentHasher
from ._blocks import apply_to_rows, float_dtype, map_in_order, stack, stacks_of
from ._linear_algebra import procrustes_rotation, random_rotation, supported_components
from ._statistics import overflow_error

# Up to this share of changed bits, a sparse product of them is faster than a dense one of all bits.
_FEW_CHANGES = 1 / 64


class ITQ(PrincipalComponentHasher):
    r"""Hash with principal components rotated to the nearest corners of the hypercube.

    Finds the orthogonal :math:`R` that brings the centred principal components :math:`V = (X - \mu) W` closest to
    their signs,

    .. math:: \min_{B, R} \lVert B - V R \rVert_F^2, \quad B \in \{-1, +1\}^{n \times K}, \quad R'R = I,

    by turns: :math:`B = \mathrm{sign}(VR)` for a fixed rotation, and for fixed codes the Procrustes rotation
    :math:`R = \hat{S} S'` from the singular value decomposition :math:`B'V = S \Omega \hat{S}'`. Neither step can
    increase the error.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, at most the rank of the training data.

    max_iter : int, default=50
        Number of turns.

    keep_hash_functions : bool, default=False
        Whether `partial_fit` leaves the hash functions as they are, so that stored codes stay valid, and only goes on
        with the statistics. It may be switched on and off at any time; the first call after it was switched off moves
        the hash functions to where all rows seen put them, the kept time included.

    random_state : int, RandomState instance or None, default=None
        Seed of the rotation that the first turn starts from.

    Attributes
    ----------
    components_ : ndarray of shape (n_bits, n_features)
        Principal directions by falling variance.

    rotation_ : ndarray of shape (n_bits, n_bits), dtype float64
        The learned rotation.

    quantization_errors_ : ndarray of shape (max_iter,)
        Error per training row, :math:`\lVert B - VR \rVert_F^2 / n`, at each turn; it never rises. Of the first chunk
        after `partial_fit`.

    n_iter_ : int
        Number of turns taken.

    mean_ : ndarray of shape (n_features,)
        Mean of the training features; of those before the hash functions were kept.

    statistics_ : RunningStatistics
        Number, mean and scatter matrix of all rows seen, what `partial_fit` continues from.

    kept_variance_ratio_ : float
        Variance of all rows seen along `components_`, divided by the variance along as many principal components of
        all rows seen: 1 where hashing the database again has nothing to gain from better directions. It says nothing
        of a mean that has moved: compare `mean_` with ``statistics_.mean``. Computed when it is read.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    PCAH : The same with a random rotation or none.

    Notes
    -----
    The rotation is learned from V as a whole. In a fit it takes most of the memory beside the features:
    ``4 * n_bits`` bytes a row for float32 and ``n_bits / 8`` more for B.

    `partial_fit` updates mean and components exactly, from merged statistics. The rotation is a function of the rows
    themselves, which are gone: it is learned from the first chunk and then kept, turned along with the components so
    that the hash functions change as little as possible. So pass a first chunk of some thousand rows.

    References
    ----------
    Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import ITQ
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = ITQ(n_bits=16, random_state=0).fit(X)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **PrincipalComponentHasher._parameter_constraints,
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, max_iter=50, keep_hash_functions=False, random_state=None):
        self.n_bits = n_bits
        self.max_iter = max_iter
        self.keep_hash_functions = keep_hash_functions
        self.random_state = random_state

    def _solve(self, X, statistics, previous_weights):
        components, _ = supported_components(self, self.n_bits, statistics)
        if previous_weights is None:
            start = random_rotation(self.n_bits, check_random_state(self.random_state))
            projections = centred_projections(self, X, statistics.mean, components)
            rotation, self.quantization_errors_ = learn_rotation(projections, start, self.max_iter)
            self.n_iter_ = self.max_iter
        else:
            rotation = procrustes_rotation(previous_weights.T @ components.T)
        self.components_ = components.astype(float_dtype(X))
        self.rotation_ = rotation
        return components.T @ rotation


def centred_projections(estimator, X, mean, components):
    """Compute V, the principal components of rows.

    Parameters
    ----------
    estimator : estimator
        Named in the error.

    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Rows.

    mean : ndarray of shape (n_features,)
        What is subtracted from them.

    components : ndarray of shape (n_components, n_features)
        Directions.

    Returns
    -------
    projections : ndarray of shape (n_samples, n_components)
        Of `float_dtype(X)`.

    Raises
    ------
    ValueError
        If they are so large that sums over the rows overflow.
    """
    dtype = float_dtype(X)
    with np.errstate(over="ignore", invalid="ignore"):
        weights, offsets = components.T.astype(dtype), (mean @ components.T).astype(dtype)
        projections = apply_to_rows(lambda rows: rows @ weights - offsets, X, len(components), dtype)
    if not all_finite(projections) or largest_magnitude(projections) > np.finfo(dtype).max / len(projections):
        raise overflow_error(estimator)
    return projections


def learn_rotation(projections, rotation, n_turns):
    """Take turns between codes and rotation.

    From the second turn on few bits change. Adding only these to ``B'V`` spares one of the two products of a turn.

    Parameters
    ----------
    projections : ndarray of shape (n_samples, n_directions)
        V.

    rotation : ndarray of shape (n_directions, n_bits)
        Orthonormal rows that the first turn starts from. With fewer directions than bits, each bit mixes them.

    n_turns : int
        Number of turns.

    Returns
    -------
    rotation : ndarray of shape (n_directions, n_bits)
        R after the last turn.

    errors : ndarray of shape (n_turns,)
        ``||B - V R||^2`` per row at each turn; it never rises.
    """
    n_samples, n_bits = len(projections), rotation.shape[1]
    squared_norm = np.einsum("ij,ij->", projections, projections, dtype=np.float64)
    column_sums = projections.sum(axis=0, dtype=np.float64)
    # All bits one after the other, an eighth of what Booleans take.
    packed = np.zeros(-(-n_samples * n_bits // 8), dtype=np.uint8)
    bits_times_projections = np.zeros(rotation.T.shape)
    errors = np.empty(n_turns)
    for turn in range(n_turns):
        changes = _update_bits(packed, projections, rotation.astype(projections.dtype))
        if changes is None:
            bits_times_projections = _bits_times_projections(packed, projections, n_bits)
        else:
            bits_times_projections += _changes_times_projections(*changes, projections, n_bits)
        # B = 2 bits - 1
        cross_product = 2 * bits_times_projections - column_sums
        # ||B - V R||^2 = ||B||^2 + ||V||^2 - 2 trace(R B'V)
        errors[turn] = n_bits + (squared_norm - 2 * np.sum(rotation * cross_product.T)) / n_samples
        rotation = procrustes_rotation(cross_product)
    return rotation, errors


def _bytes_of(packed, rows, n_bits):
    """Return the bytes that hold the bits of one stack of rows, the number of which fills bytes."""
    return packed[rows.start * n_bits // 8 : -(-rows.stop * n_bits // 8)]


def _update_bits(packed, projections, rotation):
    """Set the bits to ``[V R >= 0]``, and return the places among all bits of those that changed and what they are now.

    Returns None instead of many places.
    """
    n_bits = rotation.shape[1]

    def update(rows):
        rotated = (stack(projections[rows]) @ rotation).reshape(-1, n_bits)
        new = np.packbits(rotated[: rows.stop - rows.start] >= 0)
        old = _bytes_of(packed, rows, n_bits)
        # Most bytes stay as they are.
        changed_bytes = np.flatnonzero(new != old)
        places = np.flatnonzero(np.unpackbits(new[changed_bytes] ^ old[changed_bytes]))
        is_one = np.unpackbits(new[changed_bytes])[places]
        old[:] = new
        return rows.start * n_bits + 8 * changed_bytes[places >> 3] + (places & 7), is_one

    found, n_found, n_few = [], 0, _FEW_CHANGES * len(projections) * n_bits
    for places, is_one in map_in_order(update, stacks_of(len(projections))):
        n_found += len(places)
        if n_found <= n_few:
            found.append((places, is_one))
    if n_found > n_few:
        return None
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _bits_times_projections(packed, projections, n_bits):
    """Compute ``bits' V`` from all bits."""

    def of_stack(rows):
        block = projections[rows]
        bits = np.unpackbits(_bytes_of(packed, rows, n_bits), count=len(block) * n_bits).reshape(len(block), n_bits)
        with np.errstate(over="ignore"):
            return bits.astype(block.dtype).T @ block

    product = np.zeros((n_bits, projections.shape[1]))
    for part in map_in_order(of_stack, stacks_of(len(projections))):
        product += part
    return product


def _changes_times_projections(places, is_one, projections, n_bits):
    """Compute what the bits that changed add to ``bits' V``."""
    samples, positions = np.divmod(places, n_bits)
    steps = np.where(is_one, projections.dtype.type(1), projections.dtype.type(-1))
    return sparse.csr_array((steps, (positions, samples)), shape=(n_bits, len(projections))) @ projections
